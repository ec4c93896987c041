"""A layer of two factors is the layer of their product."""

import torch
from torch.nn import functional as F

from alexnet_skip.network.factored import FactoredLinear


def test_it_is_the_linear_layer_of_its_factors_product_and_trains_all_but_the_projection():
    torch.manual_seed(0)
    layer = FactoredLinear(torch.randn(5, 3), torch.randn(8, 3), torch.randn(5))
    x = torch.randn(4, 8)
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))
    assert layer.weight.shape == (layer.out_features, layer.in_features) == (5, 8)
    assert {name for name, value in layer.named_parameters() if value.requires_grad} == {"factor", "bias"}


def test_an_empty_one_is_loaded_into():
    torch.manual_seed(0)
    layer = FactoredLinear(torch.randn(5, 3), torch.randn(8, 3), torch.randn(5))
    other = FactoredLinear.empty(5, 8, 3)
    other.load_state_dict(layer.state_dict())
    x = torch.randn(4, 8)
    torch.testing.assert_close(other(x), layer(x))
