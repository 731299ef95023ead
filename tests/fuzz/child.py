"""A process of its own for an input that may take all memory, or never come to an end."""

from __future__ import annotations

import os
import resource
import sys
import traceback
from collections.abc import Callable

from samlabel.errors import SamlabelError

MEMORY = 10**9  # bytes that reading an input below 10 MB may take; what is written may need several times that
ADDRESSES = 5 << 30  # what is not bounded ends here, and not the machine
SECONDS = 60  # of one processor; three times what an input may take, for machines that are shared


def apart(work: Callable[[], object]) -> None:
    """Do `work` in a fork of this process, which keeps its memory as it is."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def in_child(work: Callable[[], object], memory: int = MEMORY) -> tuple[str, str]:
    """ "read", "refused" or "FAULTY" for what `work` does in a fork of this process, and what is wrong with it."""
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        os.close(receive)
        code, said = 1, ""
        addresses, resident = _taken()  # of which the parent's files are no part
        os.write(send, f"{resident}\n".encode())
        try:
            resource.setrlimit(resource.RLIMIT_AS, (addresses + ADDRESSES, addresses + ADDRESSES))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
            work()
            code = 0
        except SamlabelError as error:
            code, said = (3, str(error)) if "\n" not in str(error) and str(error) else (1, f"message {str(error)!r}")
        except BaseException:
            said = "".join(traceback.format_exc(limit=-4))
        finally:
            os.write(send, said.encode("utf-8", "replace")[:4000])
            os._exit(code)
    os.close(send)
    with os.fdopen(receive, "rb") as pipe:
        resident, _, said = pipe.read().decode("utf-8", "replace").partition("\n")
    _, status, usage = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) - int(resident or 0)
    if code not in (0, 3):
        return "FAULTY", said or f"it ended with the code {code}"
    if peak > memory:
        return "FAULTY", f"{peak} bytes of memory; {said}"
    return ("read" if code == 0 else "refused"), ""


def _taken() -> tuple[int, int]:
    """Bytes of addresses and of memory that this process has, zeros where none can say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            addresses, resident = file.read().split()[:2]
    except OSError:
        return 0, 0
    return int(addresses) * resource.getpagesize(), int(resident) * resource.getpagesize()
