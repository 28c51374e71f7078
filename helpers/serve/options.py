"""The options of ``python -m helpers serve``. Nothing heavy is imported here."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    what = parser.add_argument_group("what is served")
    what.add_argument(
        "--model", metavar="RUN", help="a run folder such as runs/demo: its networks and thresholds"
    )
    what.add_argument(
        "--method", choices=("vollseg", "stardist", "unet"), help="by default VollSeg where both are there"
    )
    what.add_argument(
        "--cellpose", metavar="NAME", help="instead of a run: a model of Cellpose, by name, file or folder"
    )
    what.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a parameter of notebook 06_segment, with --cellpose of 07_segment_cellpose, such as min_size_um3=20; several times",
    )
    what.add_argument(
        "--models", metavar="FOLDER", help="of the models trained over HTTP; by default ~/.volltrack/models"
    )
    where = parser.add_argument_group("where, and for whom")
    where.add_argument("--grpc", type=_port, metavar="PORT", help="for Fiji's TrackMate-Lacss, such as 50051")
    where.add_argument(
        "--http", type=_port, metavar="PORT", help="for QuPath's extension Cellsparse, such as 8000"
    )
    where.add_argument("--host", default="127.0.0.1", help="address; 0.0.0.0 lets other machines in")
    token = where.add_mutually_exclusive_group()
    token.add_argument(
        "--token",
        metavar="TEXT",
        help="what clients must know; by default that of the variable VOLLTRACK_TOKEN, or one is made",
    )
    token.add_argument("--no-token", action="store_true", help="let everybody in; on 127.0.0.1 only")
    where.add_argument("--tls", action="store_true", help="encrypt, with a certificate of its own making")
    where.add_argument("--tls-certificate", metavar="FILE", help="encrypt, with this PEM certificate")
    where.add_argument("--tls-key", metavar="FILE", help="the key of the certificate")


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} should be a port, 1 to 65535; 0 takes a free one")
    return int(text)
