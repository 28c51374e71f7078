"""A real Lacss server with random weights, small enough for a CPU: ``python lacss_server.py PORT TOKEN`` in Lacss's own environment.

That environment (Python 3.11): ``jax<0.5 flax<0.11 numpy<2 typer==0.12.* click<8.2 biopb==0.1.2 vedo<2026
opencv-python-headless<4.12 scikit-image<0.26``, then ``--no-deps lacss==0.15.2``.

Its layers are narrower than those of Lacss's smallest model: these take minutes to compile in 3D on a CPU, and find cells of
48³ voxels of noise, whose surfaces Lacss converts face by face in Python.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import biopb.image as proto
import grpc
import jax
import numpy as np
from lacss.deploy.common import TokenValidationInterceptor
from lacss.deploy.predict import Predictor
from lacss.deploy.remote_server import LacssServicer
from lacss.modules.lacss import LPN, LPN3D, Backbone, Lacss, Segmentor, Segmentor3D

if __name__ == "__main__":
    module = Lacss(
        backbone=Backbone("tiny", fpn_dim=32, out_dim=32),
        detector=LPN(),
        segmentor=Segmentor(patch_dim=32, sig_dim=64, pos_emb_shape=(16, 16, 4)),
        detector_3d=LPN3D(dim=32),
        segmentor_3d=Segmentor3D(patch_dim=16, sig_dim=64, pos_emb_shape=(8, 8, 8, 4)),
    )
    for detector in (module.detector, module.detector_3d):
        detector.min_score, detector.max_output = 0.0, 16
    # Once in 2D and once in 3D, for each has layers of its own; within a scan Flax can make none.
    scan, weights = jax.lax.scan, {}
    jax.lax.scan = lambda f, init, locations: f(init, locations[0])
    for shape in ((64, 64, 3), (32, 32, 32, 3)):
        weights |= module.init(jax.random.PRNGKey(0), np.zeros(shape, "float32"))["params"]
    jax.lax.scan = scan
    sizes = {"grid_size": 192, "step_size": 160, "grid_size_3d": 32, "step_size_3d": 24}
    model = Predictor((module, weights), cells_per_grid=64, cells_per_grid_3d=16, **sizes)
    options = [("grpc.max_receive_message_length", 128 * 2**20)]
    server = grpc.server(
        ThreadPoolExecutor(4), interceptors=[TokenValidationInterceptor(sys.argv[2])], options=options
    )
    proto.add_ObjectDetectionServicer_to_server(LacssServicer(model), server)
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()
