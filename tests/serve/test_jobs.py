"""The jobs API over HTTP: volumes up, jobs in the queue, labels and models down, and whatever else may be sent."""

from __future__ import annotations

import io
import json
import random
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tifffile
from scipy import ndimage
from skimage.measure import label

from helpers.data.movies import Movie, write_movie
from helpers.models import elephant
from helpers.models.from_annotations import default_settings, train_from_annotations
from helpers.segmentation.elephant_segmenter import ElephantSegmenter
from helpers.segmentation.segmenter import Segmentation
from helpers.segmentation.vollseg_segmenter import VollSegSegmenter
from helpers.serve.server import Server, start
from helpers.serve.service import Limits, ServedModel
from helpers.serve.volumes import zipped
from tests.serve.qupath_extension import ask

VOXEL = (2.0, 0.5, 0.5)
TIFF, ZIP, JSON = ({"Content-Type": kind} for kind in ("image/tiff", "application/zip", "application/json"))


def threshold(frame: np.ndarray, *, mask: np.ndarray | None = None) -> Segmentation:
    """Segment by a threshold."""
    return Segmentation({"threshold": label(frame > 100).astype(np.int32)}, {})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    limits = Limits(body_mb=4, held_mb=16, voxels=200_000, waiting=12, minutes=10)
    model = ServedModel("threshold", lambda _: threshold, channels=(1,))
    models = tmp_path_factory.mktemp("models")
    with start(model, grpc_port=None, http_port=0, models=models, limits=limits) as running:
        yield running


def port_of(server: Server) -> int:
    assert server.http_port is not None
    return server.http_port


def call(server: Server, method: str, path: str, content: Any = None, kind: dict | None = None) -> Any:
    """Ask for something that is there, and return it."""
    sent = content if content is None or kind else json.dumps(content).encode()
    status, answer = ask(port_of(server), method, f"/api/{path}", sent, kind or (JSON if sent else None))
    assert 200 <= status < 300, (status, answer)
    return json.loads(answer) if answer[:1] in (b"{", b"[") else answer


def cells(seed: int, shape: tuple[int, ...] = (6, 48, 56)) -> tuple[np.ndarray, np.ndarray]:
    """Return a stack with bright balls, and their labels."""
    rng = np.random.default_rng(seed)
    seeds = np.zeros(shape, bool)
    for y in range(8, shape[1] - 6, 14):
        for x in range(8, shape[2] - 6, 14):
            seeds[shape[0] // 2, y + rng.integers(3), x + rng.integers(3)] = True
    labels = label(ndimage.distance_transform_edt(~seeds, sampling=(2, 1, 1)) < 4.5).astype(np.int32)
    return (30 + 160 * (labels > 0) + rng.normal(0, 4, shape)).clip(0).astype(np.uint8), labels


def tiff(folder: Path, array: np.ndarray, axes: str = "ZYX") -> bytes:
    write_movie(folder / "sent.tif", array, voxel_size=VOXEL, axes=axes)
    return (folder / "sent.tif").read_bytes()


def ended(server: Server, name: str) -> dict[str, Any]:
    """Wait for the end of a job."""
    end = time.monotonic() + 600
    while (job := call(server, "GET", f"jobs/{name}"))["state"] in ("waiting", "running"):
        assert time.monotonic() < end
        time.sleep(0.05)
    return job


def test_a_stack_of_two_channels_comes_back_as_labels(server, tmp_path):
    raw, labels = cells(1)
    two = np.stack([np.zeros_like(raw), raw])
    sent = [call(server, "POST", "volumes", tiff(tmp_path, two, "CZYX"), TIFF)]
    write_movie(tmp_path / "sent.zarr", two, voxel_size=VOXEL, axes="CZYX")
    sent.append(call(server, "POST", "volumes", zipped(tmp_path / "sent.zarr"), ZIP))
    for volume in sent:
        assert (volume["shape"], volume["voxel_size_um"]) == ([2, *raw.shape], list(VOXEL))
        job = ended(server, call(server, "POST", "jobs", {"kind": "segment", "volume": volume["id"]})["id"])
        assert (job["state"], job["cells"], job["version"]) == ("done", labels.max(), "threshold"), job
        (tmp_path / "labels.tif").write_bytes(call(server, "GET", f"jobs/{job['id']}/labels"))
        with zipfile.ZipFile(
            io.BytesIO(call(server, "GET", f"jobs/{job['id']}/labels?format=zarr"))
        ) as packed:
            packed.extractall(tmp_path / "labels.zarr")
        for name in ("labels.tif", "labels.zarr"):
            movie = Movie.open(tmp_path / name)
            np.testing.assert_array_equal(movie.frame(0), label(raw > 100))
            assert movie.require_voxel_size() == VOXEL
        call(server, "DELETE", f"jobs/{job['id']}")
        call(server, "DELETE", f"volumes/{volume['id']}")
        assert ask(port_of(server), "GET", f"/api/jobs/{job['id']}")[0] == 404
    assert not [v for v in call(server, "GET", "volumes") if v["id"] in [s["id"] for s in sent]]


def test_sparse_labels_of_a_stack_train_a_model_that_segments(server, tmp_path):
    """So short a training teaches little; that labels teach is tested where networks are."""
    raw, truth = cells(2, (16, 48, 56))
    drawn = np.where((truth > 0) & (truth < 9), truth, -1).astype(np.int16)
    drawn[ndimage.binary_dilation(drawn > 0, iterations=3) & (truth == 0)] = 0
    background = np.where(drawn > 0, -1, drawn).astype(np.int16)
    sent = [call(server, "POST", "volumes", tiff(tmp_path, a), TIFF)["id"] for a in (raw, drawn, background)]
    model = {"network": "elephant", "model": "mine", "volume": sent[0]}
    order = {
        "kind": "train",
        "batches": 2,
        "batch_size": 1,
        "patch": 16,
        "seed": 7,
        "labels": sent[1],
    } | model
    trained = ended(server, call(server, "POST", "jobs", order)["id"])
    assert (trained["state"], trained["fraction"], trained["error"]) == ("done", 1.0, ""), trained
    (listed,) = [m for m in call(server, "GET", "models") if m["name"] == "mine"]
    assert listed["version"] == trained["version"] and listed["epochs"] == 2
    told = call(server, "GET", "models/elephant/mine")
    assert told["settings"]["seed"] == 7
    assert server._http is not None
    folder = server._http._models.folder / "elephant" / "mine"
    _as_without_a_server(folder, order, raw, drawn, tmp_path)
    found = ended(server, call(server, "POST", "jobs", model | {"kind": "segment"})["id"])
    assert (found["state"], found["version"]) == ("done", trained["version"]), found
    answer = tifffile.imread(io.BytesIO(call(server, "GET", f"jobs/{found['id']}/labels")))
    here = ElephantSegmenter.open(folder, voxel_size=VOXEL)(raw).main
    np.testing.assert_array_equal(answer.reshape(raw.shape), here)
    _earlier_versions_stay(server, order, folder, trained["version"])
    told = call(server, "GET", "models/elephant/mine")
    refused = ended(server, call(server, "POST", "jobs", order | {"labels": sent[2]})["id"])
    assert refused["state"] == "failed" and "only background" in refused["error"]
    assert call(server, "GET", "models/elephant/mine") == told, "a training that failed leaves the model"
    call(server, "DELETE", "models/elephant/mine")
    assert call(server, "GET", "models") == []
    assert ask(port_of(server), "GET", "/api/models/elephant/mine/versions")[0] == 404


def _as_without_a_server(
    there: Path, order: dict[str, Any], raw: np.ndarray, drawn: np.ndarray, folder: Path
) -> None:
    """Train on the same annotations with the same seed, as notebook 01_annotate and scripts do: the same model."""
    settings = default_settings("elephant", 3, epochs=2, steps_per_epoch=1, batch_size=order["batch_size"])
    here = folder / "elephant"
    train_from_annotations(
        "elephant", [raw], [drawn], here, voxel_size=VOXEL, settings=settings, patch_size=[16, 16, 16],
        seed=order["seed"],
    )  # fmt: skip
    a, b = (elephant.load(path).keras_model.get_weights() for path in (here, there))
    assert len(a) == len(b) > 0
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (here / "config.json").read_bytes() == (there / "config.json").read_bytes()


def _earlier_versions_stay(server: Server, order: dict[str, Any], folder: Path, first: str) -> None:
    def files(where: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in where.iterdir() if path.is_file()}

    before = files(folder)
    second = ended(server, call(server, "POST", "jobs", order | {"seed": 8})["id"])["version"]
    listed = call(server, "GET", "models/elephant/mine/versions")
    assert [one["version"] for one in listed] == [second, first] and second != first
    (now,) = [one for one in call(server, "GET", "models") if one["name"] == "mine"]
    assert now["version"] == second
    kept = folder.parent / ".versions" / "mine" / first
    assert files(kept) == before and files(folder) != before
    asked = {name: order[name] for name in ("network", "model", "volume")} | {"kind": "segment"}
    for version in (first, second):
        found = ended(server, call(server, "POST", "jobs", asked | {"version": version})["id"])
        assert (found["state"], found["version"]) == ("done", version), found
        used = kept if version == first else folder
        assert server._http is not None and server._http._models._open[0][0] == used
    for wrong, status in ((asked | {"version": "0" * 12}, 404), (order | {"version": first}, 422)):
        assert ask(port_of(server), "POST", "/api/jobs", json.dumps(wrong).encode(), JSON)[0] == status


def test_a_unet_is_trained_and_segments(server, tmp_path):
    raw, truth = cells(4, (16, 48, 48))
    sent = [call(server, "POST", "volumes", tiff(tmp_path, a), TIFF)["id"] for a in (raw, truth)]
    model = {"network": "unet", "model": "foreground", "volume": sent[0]}
    order = model | {"kind": "train", "batches": 40, "batch_size": 2, "patch": 32, "labels": sent[1]}
    trained = ended(server, call(server, "POST", "jobs", order)["id"])
    assert (trained["state"], trained["error"]) == ("done", "")
    found = ended(server, call(server, "POST", "jobs", model | {"kind": "segment"})["id"])
    answer = tifffile.imread(io.BytesIO(call(server, "GET", f"jobs/{found['id']}/labels"))).reshape(raw.shape)
    assert server._http is not None
    folder = server._http._models.folder / "unet" / "foreground"
    here = VollSegSegmenter.open(unet_dir=folder, method="unet", voxel_size=VOXEL)(raw).main
    np.testing.assert_array_equal(answer, here)
    assert found["cells"] == here.max() > 0
    call(server, "DELETE", "models/unet/foreground")


def test_jobs_wait_in_the_order_of_coming_and_can_be_cancelled(server, tmp_path):
    volume = call(server, "POST", "volumes", tiff(tmp_path, np.stack([cells(3)[0]] * 2), "CZYX"), TIFF)
    order = {"kind": "segment", "volume": volume["id"]}
    with server.service.device.turn(lambda: True):  # as a call over gRPC would
        jobs = [call(server, "POST", "jobs", order) for _ in range(4)]
        assert [(j["state"], j["position"]) for j in jobs] == [("waiting", n) for n in (1, 2, 3, 4)]
        call(server, "DELETE", f"jobs/{jobs[1]['id']}")
        assert ended(server, jobs[1]["id"])["state"] == "cancelled"
        assert ask(port_of(server), "GET", f"/api/jobs/{jobs[0]['id']}/labels")[0] == 404
        more = [
            ask(port_of(server), "POST", "/api/jobs", json.dumps(order).encode(), JSON) for _ in range(10)
        ]
        assert [status for status, _ in more] == [202] * 9 + [503] and b"try again later" in more[-1][1]
    waited = [
        ended(server, job["id"]) for job in [*jobs[:1], *jobs[2:], *(json.loads(a) for _, a in more[:9])]
    ]
    assert {job["state"] for job in waited} == {"done"}
    assert [job["started"] for job in waited] == sorted(job["started"] for job in waited)


def test_ten_clients_at_once_get_what_is_theirs(server, tmp_path):
    def work(client: int) -> bool:
        raw, _ = cells(10 + client, (4, 36, 36 + client))
        folder = tmp_path / str(client)
        folder.mkdir()
        volume = call(server, "POST", "volumes", tiff(folder, np.stack([raw] * 2), "CZYX"), TIFF)
        job = ended(server, call(server, "POST", "jobs", {"kind": "segment", "volume": volume["id"]})["id"])
        answer = tifffile.imread(io.BytesIO(call(server, "GET", f"jobs/{job['id']}/labels")))
        return np.array_equal(answer.reshape(raw.shape), label(raw > 100))

    with ThreadPoolExecutor(10) as pool:
        assert all(pool.map(work, range(10)))


def test_orders_that_can_never_be_done_are_refused_at_once(server, tmp_path):
    raw, drawn = cells(4)
    volume = call(server, "POST", "volumes", tiff(tmp_path, raw), TIFF)["id"]
    plain = io.BytesIO()
    tifffile.imwrite(plain, raw, photometric="minisblack")
    uncalibrated = call(server, "POST", "volumes", plain.getvalue(), TIFF)["id"]
    small = call(server, "POST", "volumes", tiff(tmp_path, drawn[:-1].astype(np.uint16)), TIFF)["id"]
    train = {"kind": "train", "network": "elephant", "volume": volume, "labels": small}
    for order, status, said in (
        ({"kind": "segment", "volume": uncalibrated}, 422, "voxel_size_um"),
        ({"kind": "segment", "volume": "f" * 16}, 404, "volume"),
        ({"kind": "segment", "volume": volume, "network": "stardist"}, 404, "train it first"),
        ({"kind": "segment", "volume": volume, "network": "stardist", "model": "../x"}, 422, "plain name"),
        (train | {"network": "served"}, 422, "to train"),
        (train, 422, "raw volume's size"),
        (train | {"labels": None}, 422, "labels"),
        (train | {"labels": volume, "batches": 10**6}, 422, "20000 on this server"),
        (train | {"channel": 3}, 422, "channel"),
        (train | {"epochs": 3}, 422, "epochs"),
    ):
        got, answer = ask(port_of(server), "POST", "/api/jobs", json.dumps(order).encode(), JSON)
        assert (got, said in answer.decode()) == (status, True), (order, answer)
    (job,) = [
        ended(server, call(server, "POST", "jobs", {"kind": "segment", "volume": volume})["id"]),
    ]
    assert job["state"] == "failed" and "at least 2 channels" in job["error"], (
        "the served model looks at the second"
    )


def test_two_hundred_malformed_volumes_and_orders(server, tmp_path):
    rng, process = random.Random(5), psutil.Process()
    raw, _ = cells(5)
    good = tiff(tmp_path, raw)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../outside", b"x")
        archive.writestr("zeros", b"\0" * 3_000_000)
    large = tiff(tmp_path, np.zeros((4, 300, 300), np.uint8))
    bool_image = io.BytesIO()
    tifffile.imwrite(bool_image, raw > 100, photometric="minisblack")
    before = process.memory_info().rss
    for n in range(200):
        if n % 2:
            content, kind, path = rng.choice(
                [
                    (rng.randbytes(rng.choice([1, 8, 500])), rng.choice([TIFF, ZIP]), "volumes"),
                    (good[: rng.randint(1, len(good) // 2)], TIFF, "volumes"),
                    (good, ZIP, "volumes"),
                    (packed.getvalue(), ZIP, "volumes"),
                    (large, TIFF, "volumes"),
                    (bool_image.getvalue(), TIFF, "volumes"),
                    (b"", TIFF, "volumes"),
                    (good, JSON, "volumes"),
                ]
            )
        else:
            field = rng.choice(["kind", "volume", "network", "batches", "voxel_size_um", "channel", "labels"])
            value = rng.choice([None, -1, 10**30, "é", "../..", [], {}, [1], [0, 0, 0], True, "x" * 10_000])
            order = {"kind": "segment", "volume": "0" * 16, field: value}
            content, kind, path = json.dumps(order).encode(), JSON, "jobs"
        status, answer = ask(port_of(server), "POST", f"/api/{path}", content, kind)
        assert 400 <= status < 500, (status, answer, content[:100])
        assert answer and b"\n" not in answer and b"Traceback" not in answer and len(answer) < 700, answer
        assert b"/tmp" not in answer, "where things lie on the server is nobody's business"
    assert process.memory_info().rss - before < 100 * 2**20
    assert ask(port_of(server), "GET", "/health")[0] == 200
    assert not list(tmp_path.parent.rglob("outside"))


def test_the_api_keeps_what_its_description_promises(server):
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    @schemathesis.serializer("image/tiff", "application/zip")
    def raw_bytes(_: Any, value: Any) -> bytes:
        return value if isinstance(value, bytes) else getattr(value, "data", str(value).encode())

    address = f"http://127.0.0.1:{port_of(server)}"
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    asked = set()
    for operation in schema.get_all_operations():
        described = operation.ok()
        if not described.path.startswith("/api/"):
            continue

        @settings(
            max_examples=5, database=None, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=described.as_strategy())
        def sent(case: Any) -> None:
            answer = case.call(base_url=address)
            assert answer.status_code < 500 or answer.status_code == 503, (case, answer.text)
            # What a description cannot say: that bytes are a volume, and an id that of something there.
            case.validate_response(answer, excluded_checks=[positive_data_acceptance])

        sent()
        asked.add((described.method, described.path))
    assert len(asked) == 12


def test_who_has_no_token_stays_out_and_the_end_of_the_server_cancels(tmp_path):
    model = ServedModel("threshold", lambda _: threshold)
    with start(model, grpc_port=None, http_port=0, models=tmp_path, token="sesame") as server:
        port, known = port_of(server), {"Authorization": "Bearer sesame"}
        assert ask(port, "GET", "/api/jobs")[0] == 401
        assert ask(port, "POST", "/api/volumes", b"II", TIFF)[0] == 401
        _, answer = ask(port, "POST", "/api/volumes", tiff(tmp_path, cells(6)[0]), TIFF | known)
        order = json.dumps({"kind": "segment", "volume": json.loads(answer)["id"]}).encode()
        assert server._http is not None
        store, free = Path(server._http._store.name), threading.Event()
        with server.service.device.turn(lambda: not free.is_set()):
            assert ask(port, "POST", "/api/jobs", order, JSON | known)[0] == 202
            assert any(store.rglob("volume.tif"))
            server.stop(0.0)
            end = time.monotonic() + 60
            while server.service.device.waiting:
                assert time.monotonic() < end
                time.sleep(0.02)
    assert not store.exists()
