"""The protocol of a model. README.md in this folder explains how to add one.

Everything that is specific to a model is behind this protocol. A module with these functions is a
recipe.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tokenizers import Tokenizer
from torch import Tensor, nn

from mmsent.data.pair import Part
from mmsent.inputs.image import ImageSettings
from mmsent_training.batches import Batches
from mmsent_training.examples import Examples
from mmsent_training.settings import Device, Preset, Settings

Ids = Sequence[Sequence[int]]
"""The token ids of every example."""


class Weights(Protocol):
    """Verified pretrained weights.

    ``name``: for people. ``revision``: of the hub's repository or the package, or None for a local
    folder. ``sha256``: of their files.
    """

    @property
    def name(self) -> str: ...
    @property
    def revision(self) -> str | None: ...
    @property
    def sha256(self) -> str: ...


@dataclass(frozen=True)
class Inputs:
    """The preprocessing of pairs; both parts go into the bundle."""

    tokenizer: Tokenizer
    image: ImageSettings


@dataclass(frozen=True)
class Task:
    """A training run, as a recipe sees it. ``train`` and ``validation`` are rows of ``examples``.

    ``weights``: those that `find_weights` found.
    """

    settings: Settings
    weights: Weights | None
    examples: Examples
    train: Sequence[int]
    validation: Sequence[int]


class Fused(nn.Identity):
    """Marks the features of text and image that a network has fused: float [batch, features].

    A network passes them through one module of this class, directly before its classifier.
    `mmsent-export onnx --embeddings` adds them to the bundle.
    """


@dataclass(frozen=True)
class Prepared:
    """The module that the loop trains, and its data.

    ``module``: the model, or the part to train. ``training`` and ``validation``: its inputs, in the
    order of the task's rows. ``missing``: the module's inputs for a missing text, [tokens, ...],
    and image. ``pretrained``: prefixes of the names of pretrained parameters. ``optional``:
    the parts that a pair may lack by design of the model, even without modality dropout.
    ``depths``: for layer_decay, the number of layers above a pretrained parameter, by prefixes; the
    longest decides.
    """

    module: nn.Module
    training: Batches
    validation: Batches
    missing: tuple[Tensor, Tensor]
    pretrained: tuple[str, ...] = ()
    optional: tuple[Part, ...] = ()
    depths: Mapping[str, int] = field(default_factory=dict)


class Recipe(Protocol):
    """A model. Training calls these functions in this order."""

    def find_weights(self, sources: Mapping[str, str]) -> Weights | None:
        """The verified pretrained weights, or None if the model has none.

        ``sources``: the given options of the kind "source". Raises WeightsUnavailable if the
        weights are unavailable, and InputError if a source is invalid.
        """

    def default_settings(self, device: Device, preset: Preset) -> Settings:
        """The default settings. Raises InputError if the model lacks the preset."""

    def read_inputs(self, task: Task) -> Inputs:
        """Tokenizer and image settings; a vocabulary comes only from the training pairs."""

    def create(self, task: Task, inputs: Inputs, ids: Ids) -> tuple[dict[str, Any], nn.Module]:
        """The arguments of `build`, as stored in run.json, and the model, ready for training."""

    @property
    def build(self) -> Callable[..., nn.Module]:
        """Builds the network, from a bundle's ids, mask and pixels to logits [batch, labels].

        It takes ``labels``, a number, and the arguments that `create` returns. Export calls it.
        """

    def prepare(self, model: nn.Module, task: Task, inputs: Inputs, ids: Ids) -> Prepared:
        """Choose the part of ``model`` to train, and its data. ``model`` is on its device."""
