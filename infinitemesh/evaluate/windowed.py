"""Convolutions over pictures that are mostly background: exact, at the cost of what is not background.

Where a layer sees background alone it answers as it does to an empty picture. So an empty picture goes through once,
and of every other one only the window that its object has reached, which grows from layer to layer.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

Span = tuple[int, int]  # rows or columns: first, and the one after the last


@dataclass(frozen=True)
class Layer:
    """A convolution or pooling with square kernels; what it pads with is its own affair."""

    run: Callable[[Tensor], Tensor]
    kernel: int
    stride: int
    padding: int

    def reached(self, inputs: Span, size: int) -> Span:
        """The outputs, of `size`, that see any of the inputs."""
        first = -(-(inputs[0] - self.kernel + 1 + self.padding) // self.stride)
        last = (inputs[1] - 1 + self.padding) // self.stride
        return max(first, 0), min(last + 1, size)

    def seen(self, outputs: Span, size: int) -> Span:
        """The inputs, of `size`, that the outputs see."""
        first = outputs[0] * self.stride - self.padding
        last = (outputs[1] - 1) * self.stride - self.padding + self.kernel - 1
        return max(first, 0), min(last + 1, size)

    def first_output(self, inputs: Span) -> int:
        """Which output the layer's first one is when it is run on these inputs alone.

        With padding the first is spoilt by it, unless the picture ends there too.
        """
        assert self.padding == 0 or self.stride == 1
        return inputs[0] // self.stride


@dataclass(frozen=True)
class Window:
    """What an image shows within `rows` x `columns`; everywhere else it is as an empty picture."""

    values: Float[Tensor, "n c h w"]
    rows: Span
    columns: Span

    @property
    def is_empty(self) -> bool:
        return self.rows[0] >= self.rows[1] or self.columns[0] >= self.columns[1]

    @staticmethod
    def of(pictures: Float[Tensor, "n c h w"]) -> "Window":
        """The smallest one for all of the pictures, whose background is the colour of the first one's first pixel."""
        shown = (pictures != pictures[:1, :, :1, :1]).any(0).any(0)
        rows, columns = _span(shown.any(1)), _span(shown.any(0))
        return Window(pictures[..., slice(*rows), slice(*columns)], rows, columns)

    def after(self, layer: Layer, empty: Tensor, empty_after: Tensor) -> "Window":
        """What the layer makes of it, given what it makes of an empty picture."""
        rows = layer.reached(self.rows, empty_after.shape[-2])
        columns = layer.reached(self.columns, empty_after.shape[-1])
        if self.is_empty or rows[0] >= rows[1] or columns[0] >= columns[1]:
            return Window(empty_after[..., :0, :0], (0, 0), (0, 0))
        seen_rows, seen_columns = layer.seen(rows, empty.shape[-2]), layer.seen(columns, empty.shape[-1])
        inputs = empty[..., slice(*seen_rows), slice(*seen_columns)].repeat(len(self.values), 1, 1, 1)
        used_rows, used_columns = _common(self.rows, seen_rows), _common(self.columns, seen_columns)
        used = self.values[..., _within(used_rows, self.rows[0]), _within(used_columns, self.columns[0])]
        inputs[..., _within(used_rows, seen_rows[0]), _within(used_columns, seen_columns[0])] = used
        outputs = layer.run(inputs)
        top, left = layer.first_output(seen_rows), layer.first_output(seen_columns)
        return Window(outputs[..., _within(rows, top), _within(columns, left)], rows, columns)


def windows(
    layers: Sequence[Layer], empty: Sequence[Float[Tensor, "1 _ _ _"]], pictures: Float[Tensor, "n c h w"]
) -> Iterator[Window]:
    """The output of every layer; `empty` is an empty picture followed by its outputs (`outputs_of`)."""
    window = Window.of(pictures)
    for layer, before, after in zip(layers, empty[:-1], empty[1:], strict=True):
        window = window.after(layer, before, after)
        yield window


def outputs_of(layers: Sequence[Layer], pictures: Float[Tensor, "n c h w"]) -> list[Tensor]:
    """The pictures and the output of every layer."""
    outputs = [pictures]
    for layer in layers:
        outputs.append(layer.run(outputs[-1]))
    return outputs


def _span(shown: Tensor) -> Span:
    at = shown.nonzero()[:, 0]
    return (int(at[0]), int(at[-1]) + 1) if len(at) else (0, 0)


def _common(a: Span, b: Span) -> Span:
    """A stride may leave a picture's last column unseen."""
    return max(a[0], b[0]), min(a[1], b[1])


def _within(span: Span, start: int) -> slice:
    return slice(span[0] - start, span[1] - start)
