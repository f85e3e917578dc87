"""The page of a run in training: what it shows, whom it answers, and that it changes nothing."""

import base64
import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from numpy.typing import NDArray

from cnnlab import activations, data, models, training
from cnnlab.analysis.trace import layer_calls
from cnnlab.data import Dataset
from cnnlab.training import Record, scene
from cnnlab.training import live as live_module
from cnnlab.training.live import CannotServe, Live, _address, serving
from cnnlab.training.recipe import Recipe
from cnnlab.training.snapshot import Camera, Snapshot, Volume, _shown
from cnnlab.training.state import State

HOSTILE = "<img src=x onerror=\"document.title='taken'\">'&"


@pytest.fixture(scope="module")
def idle() -> Iterator[Live]:
    """A server with nothing to show yet."""
    with serving("0") as live:
        assert live
        yield live


def port(live: Live) -> int:
    return int(live.url.rsplit(":", 1)[1].rstrip("/"))


def asked(
    live: Live, path: str, method: str = "GET", host: str | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port(live), timeout=10)
    headers = {} if host is None else {"Host": host}
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


def told(live: Live, path: str) -> Any:
    status, _, body = asked(live, path)
    assert status == 200
    return json.loads(body)


@pytest.fixture
def live() -> Iterator[Live]:
    """A server to show a run with."""
    with serving("0") as live:
        assert live
        yield live


class TestServer:
    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
    def test_other_methods_are_refused(self, idle: Live, method: str) -> None:
        assert asked(idle, "/", method)[0] == 501

    def test_a_head_is_the_answer_without_its_body(self, idle: Live) -> None:
        _, _, body = asked(idle, "/")
        with socket.create_connection(("127.0.0.1", port(idle)), timeout=10) as connection:
            connection.sendall(f"HEAD / HTTP/1.0\r\nHost: localhost:{port(idle)}\r\n\r\n".encode())
            answer = connection.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.0 200 ")
        assert answer.endswith(b"\r\n\r\n")
        assert b"Content-Length: %d\r\n" % len(body) in answer

    def test_who_asks_byte_by_byte_is_hung_up_on(
        self, idle: Live, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(live_module, "_DEADLINE", 0.3)
        started = time.monotonic()
        with (
            contextlib.suppress(ConnectionError),
            socket.create_connection(("127.0.0.1", port(idle)), timeout=10) as connection,
        ):
            while time.monotonic() - started < 10:
                connection.sendall(b"a")
                time.sleep(0.02)
        assert time.monotonic() - started < 5
        assert asked(idle, "/")[0] == 200

    @pytest.mark.parametrize(
        "path", ["/live.html", "/../run.py", "/%2e%2e/etc/passwd", "/etc/passwd", "/?a", "/cnnlab/"]
    )
    def test_other_paths_are_not_there(self, idle: Live, path: str) -> None:
        assert asked(idle, path)[0] == 404

    @pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
    def test_its_own_names_are_known(self, idle: Live, name: str) -> None:
        tunnel = 1
        for host in (name, f"{name}:{port(idle)}", f"{name}:{tunnel}"):
            assert asked(idle, "/", host=host)[0] == 200

    @pytest.mark.parametrize(
        "name", ["rebound.example:{}", "rebound.example", "127.0.0.1.example", "", "a b", "[::1"]
    )
    def test_another_host_is_refused(self, idle: Live, name: str) -> None:
        for path in ("/", "/state.json", "/picture.json", "/none"):
            assert asked(idle, path, host=name.format(port(idle)))[0] == 421

    @pytest.mark.parametrize(("path", "method"), [("/", "GET"), ("/none", "GET"), ("/", "POST")])
    def test_every_answer_has_strict_headers(self, idle: Live, path: str, method: str) -> None:
        _, headers, _ = asked(idle, path, method)
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")
        assert "Access-Control-Allow-Origin" not in headers

    def test_on_every_address_it_is_known_by_number(self) -> None:
        with serving("0.0.0.0:0") as live:
            assert live
            assert asked(live, "/", host=f"127.0.0.1:{port(live)}")[0] == 200
            assert asked(live, "/", host=f"rebound.example:{port(live)}")[0] == 421

    def test_before_a_run_there_is_nothing(self, idle: Live) -> None:
        assert told(idle, "/state.json") is None
        assert told(idle, "/picture.json") is None

    def test_it_ends_with_what_it_was_opened_for(self) -> None:
        before = set(threading.enumerate())
        with contextlib.suppress(KeyboardInterrupt), serving("0") as live:
            assert live
            raise KeyboardInterrupt
        with pytest.raises(ConnectionRefusedError):
            asked(live, "/")
        assert set(threading.enumerate()) <= before


class TestAddress:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("8000", ("127.0.0.1", 8000)),
            ("0", ("127.0.0.1", 0)),
            ("localhost:1", ("localhost", 1)),
            ("[::1]:65535", ("::1", 65535)),
        ],
    )
    def test_read(self, text: str, found: tuple[str, int]) -> None:
        assert _address(text) == found

    @pytest.mark.parametrize("text", ["", "here", "8000:", "host:", "-1", "65536", "²"])
    def test_refused(self, text: str) -> None:
        with pytest.raises(CannotServe, match=f"^'{text}' is no address: PORT or HOST:PORT"):
            _address(text)

    def test_a_port_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = other.getsockname()[1]
            with (
                pytest.raises(CannotServe, match=f"127.0.0.1:{taken}: .*in use; port 0"),
                serving(str(taken)),
            ):
                pass

    def test_a_host_that_is_not_here(self) -> None:
        with pytest.raises(CannotServe, match=r"192\.0\.2\.1:0: "), serving("192.0.2.1:0"):
            pass

    def test_without_an_address_nothing_is_served(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with serving(None) as live:
            assert live is None
        monkeypatch.setattr("cnnlab.training.live.leads", lambda: False)
        with serving("0") as live:
            assert live is None


@contextlib.contextmanager
def at_every_step() -> Iterator[dict[int, Any]]:
    """Snapshots between any two steps; gives the variables that they were taken of.

    The one after step 78, the last, is left to be taken in any case.
    """
    take, look, kept = Camera._take, Camera.look, {}

    def look_until_the_last(camera: Camera, step: int, state: State) -> None:
        if step < 78:
            look(camera, step, state)

    def take_and_keep(camera: Camera, step: int, state: State) -> Snapshot:
        kept[step] = jax.tree.map(jax.numpy.copy, state.variables)
        return take(camera, step, state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cnnlab.training.snapshot._INTERVAL", 0.0)
        patch.setattr("cnnlab.training.snapshot._PATIENCE", 0)
        patch.setattr(Camera, "_take", take_and_keep)
        patch.setattr(Camera, "look", look_until_the_last)
        yield kept


class Watched(NamedTuple):
    """A run that has ended, still served."""

    live: Live
    folder: Path
    record: Record
    variables: Any


@pytest.fixture(scope="module")
def watched(
    two_epochs: Callable[[], Recipe], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched") / "run"
    with serving("0") as live:
        assert live
        with at_every_step() as kept:
            record = training.run(two_epochs(), folder, None, live)
        yield Watched(live, folder, record, kept[78])


class Paused:
    """A run in a thread that waits at one of its steps until it is let go."""

    def __init__(self, at_step: Any, step: int):
        self.there, self._go = threading.Event(), threading.Event()
        at_step(step, self._wait)

    def _wait(self) -> None:
        self.there.set()
        assert self._go.wait(20)

    def begin(self, *arguments: Any) -> None:
        self._thread = threading.Thread(target=training.run, args=arguments, daemon=True)
        self._thread.start()
        assert self.there.wait(60)

    def go_on(self) -> None:
        self._go.set()
        self._thread.join(60)
        assert not self._thread.is_alive()


def test_watched_or_not_it_is_the_same_run(finished: Any, watched: Watched) -> None:
    assert watched.record.metrics == finished.record.metrics
    assert watched.record.parameters == finished.record.parameters


def test_the_journal_is_what_is_told(watched: Watched) -> None:
    state = told(watched.live, "/state.json")
    assert (state["status"], state["step"], state["picture"]) == ("ended", 78, 78)
    lines = [json.loads(line) for line in (watched.folder / "metrics.jsonl").open()]
    for name, points in state["curves"].items():
        assert points == [[line["step"], line[name]] for line in lines if name in line]
    assert len(state["curves"]["train_loss"]) == 78
    assert len(state["curves"]["validation_error"]) == 3


def test_the_page(
    two_epochs: Callable[[], Recipe],
    live: Live,
    at_step: Any,
    visit: Any,
    tmp_path: Path,
) -> None:
    recipe = two_epochs()
    recipe = recipe.override({"arm": HOSTILE})
    page = visit(live.url)
    assert page.inner_text("#status") == "no run has begun yet"
    with at_every_step() as kept:
        run = Paused(at_step, 30)
        run.begin(recipe, tmp_path / "run", None, live)
        page.wait_for_selector("#status[data-is=training]")
        page.wait_for_selector("#when:has-text('29 steps')")
        assert page.inner_text("#title") == f"{HOSTILE}, seed 0"
        assert page.title() == f"{HOSTILE}, seed 0: training"
        assert page.locator("img").count() == 0
        loss = told(live, "/state.json")["curves"]["train_loss"][-1][1]
        page.wait_for_selector(f".key .train:has-text('train {loss:.3g}')")
        before = page.get_attribute("#charts figure:first-child path.train", "d")
        assert_filters(page, kept[29]["params"]["conv1"]["kernel"])

        run.go_on()
        page.wait_for_selector("#status[data-is=ended]")
        page.wait_for_selector("#when:has-text('78 steps')")
        assert page.inner_text("#status") == "training has ended"
        after = page.get_attribute("#charts figure:first-child path.train", "d")
        assert len(after) > len(before)
        assert_filters(page, kept[78]["params"]["conv1"]["kernel"])


def assert_filters(page: Any, kernel: NDArray[np.float32]) -> None:
    """Canvas k shows filter k [F, F, C], grey or red, green and blue: 0 at the least weight of all.

    The largest is 255.
    """
    painted = page.evaluate(
        "[...document.querySelectorAll('#filters canvas')].map(canvas =>"
        " [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data])"
    )
    height, width, channels, filters = kernel.shape
    seen = np.array(painted).reshape(-1, height, width, 4)
    assert len(seen) == filters
    expected = 255 * (kernel - kernel.min()) / (kernel.max() - kernel.min())
    for k in range(filters):
        for channel in range(3):
            plane = expected[:, :, channel if channels == 3 else 0, k]
            np.testing.assert_allclose(seen[k, :, :, channel], plane, atol=0.5001)
    assert (seen[..., 3] == 255).all()


def test_coloured_filters(idle: Live, visit: Any) -> None:
    page = visit(idle.url)
    kernel = np.random.default_rng(0).normal(size=(5, 4, 3, 7)).astype(np.float32)
    page.evaluate("filters => drawFilters(filters)", scene._filters(kernel))
    assert_filters(page, kernel)


def test_a_chosen_image_shows_its_own_activations(watched: Watched, visit: Any) -> None:
    page = visit(watched.live.url)
    page.wait_for_selector("#images button")
    pixels = (
        "(() => { const canvas = document.querySelectorAll('#volumes canvas')[1]; return"
        " [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]; })()"
    )
    picture = told(watched.live, "/picture.json")
    seen = []
    for chosen in (0, 3):
        page.locator("#images button").nth(chosen).focus()
        page.keyboard.press("Enter")
        assert page.locator("#images button[aria-pressed=true]").count() == 1
        assert page.locator("#images button").nth(chosen).get_attribute("aria-pressed") == "true"
        assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
        seen.append(page.evaluate(pixels))
        label = picture["images"][chosen]["label"]
        assert label in page.locator("#images button .label").nth(chosen).inner_text()
    assert seen[0] != seen[1]


def test_the_page_outlives_the_process(chromium: Any) -> None:
    # Not by `visit`, since the browser itself reports that nobody answers.
    with serving("0") as live:
        assert live
        page = chromium.new_context().new_page()
        page.goto(live.url)
    page.wait_for_selector("#status[data-is=gone]")
    assert page.inner_text("#status") == "nobody answers"
    page.context.close()


class TestSnapshots:
    def test_against_the_network_itself(self, watched: Watched) -> None:
        shown = watched.live._scene
        assert shown
        snapshot, images = shown._camera.last, shown._camera.images
        split = data.open_dataset("digits").decoded("train")
        firsts = [int(np.flatnonzero(split.labels == label)[0]) for label in images.labels]
        assert firsts == sorted(firsts)
        assert len(set(images.labels.tolist())) == 6
        np.testing.assert_array_equal(images.images, split.images[firsts])
        x = (images.images / 255 - split.images.mean() / 255) / (split.images.std() / 255)
        model = models.create(watched.record.config["model"]["name"], classes=10)
        outputs = activations(model, watched.variables, jax.numpy.asarray(x, "float32"))
        assert [volume.name for volume in snapshot.volumes] == ["pool1", "relu1"]
        assert snapshot.volumes[1].layer == "CONV3-4 -> BN -> RELU"
        for volume in snapshot.volumes:
            np.testing.assert_allclose(volume.maps, outputs[volume.name], rtol=1e-4, atol=1e-5)
        scores = jax.nn.softmax(outputs["fc1"])
        np.testing.assert_allclose(snapshot.scores, scores, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize(("cost", "apart"), [(0.001, 2.0), (0.5, 30.0)])
    def test_none_before_the_last_is_paid_for(
        self, cost: float, apart: float, tiny: Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now, taken = 0.0, []

        def take(camera: Camera, step: int, state: Any) -> Snapshot:
            nonlocal now
            now += cost
            taken.append(now)
            return Snapshot(step, np.zeros((1, 3)), None, [])

        clock = SimpleNamespace(perf_counter=lambda: now)
        monkeypatch.setattr("cnnlab.training.snapshot.time", clock)
        monkeypatch.setattr(Camera, "_take", take)
        feed = SimpleNamespace(first=lambda number: tiny.decoded("train"))
        state: Any = SimpleNamespace(step=jax.numpy.zeros(()))
        camera = Camera(None, feed, 0, state)  # type: ignore[arg-type]
        for step in range(1, 1001):
            now += 0.1
            camera.look(step, state)
        assert len(taken) > 4
        # What the first one takes is compilation as well, and tells nothing.
        assert np.diff(taken[1:]) == pytest.approx(apart + cost, abs=0.1001)
        assert cost * (len(taken) - 2) / (now - taken[1]) < 0.02


class TestScene:
    def test_what_is_no_number_is_black(self) -> None:
        array = np.full((2, 3, 3, 4), np.nan, np.float32)
        array[0, 0, 0, 0] = np.inf
        filters = scene._filters(array)
        volume = scene._volume(Volume("CONV3-4", "conv1", (3, 3, 4), array))
        json.dumps([filters, volume], allow_nan=False)
        assert base64.b64decode(filters["pixels"]) == bytes(72)
        assert list(map(base64.b64decode, volume["pixels"])) == [bytes(36)] * 2

    def test_each_map_has_its_own_range(self) -> None:
        maps = np.zeros((1, 1, 3, 3), np.float32)
        maps[0, 0] = [[0, -1, 5], [2, 0, 5], [4, 1, 5]]  # a row has a pixel of each of three maps
        found = scene._volume(Volume("CONV1-3", "conv1", (1, 3, 3), maps))
        assert list(base64.b64decode(found["pixels"][0])) == [0, 128, 255, 0, 128, 255, 0, 0, 0]
        assert found["ranges"] == [(-1, 5)]

    def test_a_long_curve_is_thinned_and_ends_where_it_is(self) -> None:
        lines = [{"step": step, "loss": step / 2} for step in range(1, 10_001)]
        lines[5]["loss"] = float("nan")
        lines.append({"step": 10_001, "validation_loss": 1.0})
        points = scene._curve(lines, "loss")
        assert len(points) == 400
        assert (points[0], points[-1]) == ((1, 0.5), (10_000, 5_000.0))
        assert scene._curve(lines, "validation_loss") == [(10_001, 1.0)]
        assert scene._curve(lines, "train_loss") == []

    def test_of_a_deep_net_a_few_layers(self) -> None:
        model = models.create("INPUT -> [CONV3-4 -> RELU]*20 -> POOL2 -> GAP -> FC", classes=3)
        with layer_calls() as calls:
            jax.eval_shape(model.init, jax.random.key(0), jax.numpy.zeros((1, 8, 8, 1)))
        found = [(text, call.path) for text, call in _shown(calls)]
        assert len(found) == 12
        assert (found[0], found[-1]) == (("CONV3-4 -> RELU", "relu1"), ("POOL2", "pool1"))
