import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from infinitemesh.train.autoencoder_loss import AutoencoderLossWeights, autoencoder_loss


def example():
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(3, 4, 16, 16, generator=generator)
    truth[:, 3, :, 8:] = 0
    posterior = DiagonalGaussianDistribution(torch.zeros(3, 2, 2, 2))  # mean 0, variance 1
    return truth, posterior, torch.rand(3, 3, generator=generator)


def test_a_perfect_picture_costs_nothing_whatever_lies_behind_alpha_zero():
    truth, posterior, background = example()
    result = truth.clone()
    result[:, :3, :, 8:] = 7.0
    terms = autoencoder_loss(result, truth, posterior, background)
    assert all(float(value) < 1e-7 for value in terms.values())


def test_an_error_on_the_object_costs_more_than_the_same_error_beside_it():
    truth, posterior, background = example()
    truth[:, 3, :, :8] = 1
    weights = AutoencoderLossWeights(alpha=0.0, coarse=0.0, object_pixels=3.0)
    costs = []
    for columns in (slice(0, 8), slice(8, 16)):
        result = truth.clone()
        result[:, 3, :, 8:] = 1  # opaque, in the background's own colour
        result[:, :3, :, 8:] = background[:, :, None, None]
        result[:, :3, :, columns] += 0.1
        costs.append(float(autoencoder_loss(result, truth, posterior, background, weights=weights)["loss"]))
    torch.testing.assert_close(costs[0] / costs[1], 3.0, atol=1e-4, rtol=0)


def test_every_term_moves_the_loss_and_gives_gradients():
    truth, _, background = example()
    result = (truth * 0.5).requires_grad_()
    moments = torch.ones(3, 4, 2, 2, requires_grad=True)
    terms = autoencoder_loss(
        result,
        truth,
        DiagonalGaussianDistribution(moments),
        background,
        perceptual=lambda a, b: (a - b).square().mean((1, 2, 3)),
    )
    weights = AutoencoderLossWeights()
    expected = terms["colour"] + sum(
        getattr(weights, name) * terms[name] for name in ("coarse", "alpha", "perceptual", "kl")
    )
    torch.testing.assert_close(terms["loss"], expected)
    terms["loss"].backward()
    assert result.grad.abs().sum() > 0 and moments.grad.abs().sum() > 0
