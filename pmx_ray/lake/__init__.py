"""Content-addressed blocks, in a folder or on S3."""

from pmx_ray.lake.blocks import (
    Receipt,
    find_receipts,
    known_blocks,
    load_receipts,
    read_block,
    verify,
    write_block,
)
from pmx_ray.lake.folder import FolderStore
from pmx_ray.lake.objects import ObjectStore
from pmx_ray.lake.opening import is_whole, open_store, whole_address
from pmx_ray.lake.store import BlockStore

__all__ = [
    "BlockStore",
    "FolderStore",
    "ObjectStore",
    "Receipt",
    "find_receipts",
    "is_whole",
    "known_blocks",
    "load_receipts",
    "open_store",
    "read_block",
    "verify",
    "whole_address",
    "write_block",
]
