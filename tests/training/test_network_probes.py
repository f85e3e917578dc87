"""What lesions and shifts measure, of networks whose answers are known."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnlab import models, nn, training
from cnnlab.analysis.lesion import blocks, some
from cnnlab.analysis.shift import REACH, logit_change, offsets
from cnnlab.data import Dataset, Images
from cnnlab.models.resnet import ResNet
from cnnlab.training import Recipe, RecipeError, probes
from cnnlab.training.probes import PROBES, Trained

SIDE, NUMBER = 12, 30


def trained(model: Any, variables: Any, images: np.ndarray, labels: np.ndarray) -> Trained:
    """A network as a probe sees it, tested on these images, in batches of 7."""
    test = Images(images, labels.astype(np.int32))
    shape = images.shape[1:]
    dataset = Dataset("tiny", "tiny", 3, shape, "1", "0" * 16, lambda which: {"test": test}[which])
    return Trained(
        model=model,
        variables=variables,
        prepare=lambda images: jnp.asarray(images, jnp.float32) / 255,
        eval_step=lambda *_: pytest.fail("not asked for"),
        dataset=dataset,
        batch_size=7,
        seed=5,
    )


def pattern(text: str, seed: int = 0) -> tuple[Any, Any]:
    """A pattern's network with three classes, and weights drawn for it."""
    model = models.create(text, classes=3)
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 1), jnp.float32)
    random = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)
    return model, jax.tree.map(
        lambda leaf: jnp.asarray(random.normal(size=leaf.shape), jnp.float32), shapes
    )


RANDOM = np.random.default_rng(1)
IMAGES = RANDOM.integers(0, 256, (NUMBER, SIDE, SIDE, 1), dtype=np.uint8)
LABELS = RANDOM.integers(0, 3, NUMBER)


class TestShift:
    def test_a_linear_net_in_numpy(self) -> None:
        model, variables = pattern("INPUT -> FC")
        found = PROBES["shift"].measure(trained(model, variables, IMAGES, LABELS))
        fc = variables["params"]["fc1"]
        padded = np.pad(IMAGES / 255, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="reflect")

        def logits(down: int, right: int) -> np.ndarray:
            window = padded[:, 4 - down : 16 - down, 4 - right : 16 - right]
            return window.reshape(NUMBER, -1) @ np.asarray(fc["kernel"]) + np.asarray(fc["bias"])

        expected = {}
        for distance in range(1, REACH + 1):
            moved = [logits(*by) for by in offsets(distance)]
            wrong = [100 * (each.argmax(-1) != LABELS).mean() for each in (logits(0, 0), *moved)]
            changes = [logit_change(logits(0, 0), each) for each in moved]
            expected[f"shift{distance}_gap"] = np.mean(wrong[1:]) - wrong[0]
            expected[f"shift{distance}_change"] = np.mean(changes)
        assert found == pytest.approx(expected, rel=1e-5)
        assert set(found) == set(PROBES["shift"].metrics)
        assert found["shift1_change"] > 0.5

    def test_a_maximum_over_all_does_not_see_where(self) -> None:
        images = np.zeros_like(IMAGES)
        images[:, 6, 6, 0] = np.arange(1, NUMBER + 1)  # stays within, and out of the mirrored rim
        model, variables = pattern(f"INPUT -> POOL{SIDE} -> FC")
        network = trained(model, variables, images, LABELS)
        answers = probes.shift_responses(network)
        assert [answer.change for answer in answers] == [0] * (REACH + 1)
        assert len({answer.error for answer in answers}) == 1


def residual(depths: tuple[int, ...]) -> ResNet:
    return ResNet(nn.ResidualBlock, depths, 3, filters=4, stem=(3, 1), pool=False, shortcut="A")


@pytest.fixture(scope="module")
def net() -> Trained:
    """Two stages of two blocks, with weights drawn for them."""
    model, random = residual((2, 2)), np.random.default_rng(3)

    def draw(path: Any, leaf: Any) -> jax.Array:
        positive = path[-1].key in ("var", "scale")
        values = (
            random.uniform(0.5, 1.5, leaf.shape) if positive else random.normal(size=leaf.shape)
        )
        return jnp.asarray(values / (3 if path[-1].key == "kernel" else 1), jnp.float32)

    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 1), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)
    variables = jax.tree_util.tree_map_with_path(draw, shapes)
    return trained(model, variables, IMAGES, LABELS)


class TestLesion:
    def test_errors_are_those_of_nets_without_the_blocks(self, net: Trained) -> None:
        x = net.prepare(jnp.asarray(IMAGES))

        def error(model: ResNet, *gone: str) -> float:
            variables = {
                kind: {name: leaf for name, leaf in tree.items() if name not in gone}
                for kind, tree in net.variables.items()
            }
            logits = np.asarray(model.apply(variables, x))
            return 100 * float((logits.argmax(-1) != LABELS).mean())

        removals = [(), ("stage1_block2",), ("stage2_block2",), ("stage1_block2", "stage2_block2")]
        found = probes.lesion_errors(net, removals)
        depths = [(2, 2), (1, 2), (2, 1), (1, 1)]
        expected = [error(residual(d), *gone) for d, gone in zip(depths, removals, strict=True)]
        assert found == pytest.approx(expected)
        assert len(set(expected)) > 2

    def test_what_the_metrics_are(self, net: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a net whose every block has its price; stage2_block1 alone changes the shape."""
        prices = {"stage1_block1": 1.0, "stage1_block2": 2, "stage2_block1": 20, "stage2_block2": 6}
        monkeypatch.setattr(
            probes,
            "lesion_errors",
            lambda network, removals: [30 + sum(prices[n] for n in gone) for gone in removals],
        )
        found = PROBES["lesion"].measure(net)
        draws = some(blocks(net.model, (SIDE, SIDE, 1)), 1, draws=probes.LESION_DRAWS, seed=5)
        assert found == pytest.approx(
            {
                "lesion_gap": 3.0,
                "lesion_worst_gap": 6.0,
                "lesion_downsampling_gap": 17.0,
                "lesion_fifth_gap": np.mean([prices[name] for (name,) in draws]),
            }
        )
        assert set(found) == set(PROBES["lesion"].metrics)

    def test_a_net_without_blocks_is_refused_before_it_is_trained(self, tmp_path: Path) -> None:
        recipe = Recipe()
        recipe = recipe.override({"model.name": "INPUT -> FC", "train.steps": 9, "probe": "lesion"})
        with pytest.raises(RecipeError, match=r"probe = 'lesion': .*residual blocks"):
            training.run(recipe, tmp_path / "run")
        assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def script(launcher: Callable[[str], Any]) -> Any:
    return launcher("probe")


class TestScript:
    """experiments/probe.py."""

    def test_shifts_of_a_run(self, finished: Any, script: Any, capsys: Any) -> None:
        assert script.main([str(finished.folder), "--probe", "shift"]) == 0
        rows = [line.split() for line in capsys.readouterr().out.splitlines()[3:]]
        assert [row[0] for row in rows] == ["0", "1", "2", "3", "4"]
        error = finished.record.metrics["test_error"]
        assert rows[0][1:] == [f"{error:.2f}", "+0.00", "0.0000"]
        measured = PROBES["shift"].measure(probes.load(finished.folder))
        assert float(rows[3][3]) == pytest.approx(measured["shift3_change"], abs=1e-4)

    def test_every_block(self, net: Trained, script: Any) -> None:
        rows = [line.split() for line in script.lesion_table(net).splitlines()[2:]]
        named = [("stage1_block2",), ("stage2_block1",)]
        whole, *errors = probes.lesion_errors(net, [(), *named])
        assert rows[0] == ["none", f"{whole:.2f}"]
        assert rows[2] == ["stage1_block2", f"{errors[0]:.2f}", f"{errors[0] - whole:+.2f}"]
        assert rows[3][:2] == ["stage2_block1", f"{errors[1]:.2f}"]
        assert rows[3][3] == "down-sampling"
        assert [row[:3] for row in rows[5:]] == [[n, "at", "random"] for n in ("2", "3")]

    def test_mistakes(self, finished: Any, script: Any, tmp_path: Path, capsys: Any) -> None:
        config = {"probe": "gap"}
        (tmp_path / "config.json").write_text(json.dumps(config))
        for words, said in (
            ([str(finished.folder), "--probe", "lesion"], "residual blocks"),
            ([str(finished.folder), "--probe", "lesin"], "did you mean 'lesion'"),
            ([str(tmp_path)], "probe with a table: 'gap'; choices: lesion, shift"),
            ([str(tmp_path / "away")], "no config.json"),
        ):
            assert script.main(words) == 2
            assert said in capsys.readouterr().err
