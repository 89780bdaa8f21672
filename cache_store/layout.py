"""Where each object of a cache lies: what is Zarr in the open, bookkeeping under `_scae/`.

- `zarr.json`: the root group
- `samples/{sample_id,content_id,label}`: one row a sample, the same for all generations
- `generations/000001/saliency`: (N, h, w) uint8 maps
- `generations/000001/{probability,class_neighbours}`
- `_scae/identity.json`: claims the place for one data set and row order
- `_scae/plans/000001.json`: claims the number, says what this generation is made from
- `_scae/receipts/000001/000000.json`: one block's shard is there; gone after publication
- `_scae/manifests/000001.json`: every object's length and checksum
- `_scae/published/000001.json`: the pointer; the highest number is the latest generation
"""

FORMAT_VERSION = 1
"""Version of the stored format; a reader refuses a higher one."""

ROOT_METADATA = "zarr.json"
SAMPLES = "samples"
GENERATIONS = "generations"
IDENTITY = "_scae/identity.json"
PLANS = "_scae/plans"
RECEIPTS = "_scae/receipts"
MANIFESTS = "_scae/manifests"
PUBLISHED = "_scae/published"


def number_name(number: int) -> str:
    """Return a generation's or block's number as stored, six digits or more."""
    return f"{number:06d}"


def generation_key(number: int) -> str:
    """Return the key of a generation's Zarr group."""
    return f"{GENERATIONS}/{number_name(number)}"


def plan_key(number: int) -> str:
    """Return the key of the record that claims a generation's number."""
    return f"{PLANS}/{number_name(number)}.json"


def manifest_key(number: int) -> str:
    """Return the key of a generation's manifest."""
    return f"{MANIFESTS}/{number_name(number)}.json"


def published_key(number: int) -> str:
    """Return the key of the pointer record that makes a generation visible."""
    return f"{PUBLISHED}/{number_name(number)}.json"


def receipts_key(number: int) -> str:
    """Return the folder of a generation's receipts."""
    return f"{RECEIPTS}/{number_name(number)}"


def receipt_key(number: int, block: int) -> str:
    """Return the key of one block's receipt."""
    return f"{receipts_key(number)}/{number_name(block)}.json"


def record_number(key: str) -> int | None:
    """Return the number that a record's key ends with, None for a foreign file."""
    name = key.rsplit("/", 1)[-1]
    stem = name.removesuffix(".json")
    return int(stem) if name.endswith(".json") and stem.isdecimal() else None
