"""Whether the hub can be reached, asked once and briefly: else every file of a dataset is asked for six times."""

import ssl
import urllib.error
import urllib.request
from functools import cache

from datasets import config
from huggingface_hub import constants

_SECONDS = 5.0


@cache
def leave_unless_reachable() -> None:
    """Make this process do without the hub where it cannot be reached: what is cached is found, the rest refused."""
    if not constants.HF_HUB_OFFLINE and not _answers(constants.ENDPOINT):
        constants.HF_HUB_OFFLINE = config.HF_HUB_OFFLINE = True


def _answers(url: str) -> bool:
    """Whatever it answers: a status, or a certificate that another library may trust."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_SECONDS).close()
    except urllib.error.HTTPError:
        return True
    except urllib.error.URLError as error:
        return isinstance(error.reason, ssl.SSLError)
    except OSError:
        return False
    return True
