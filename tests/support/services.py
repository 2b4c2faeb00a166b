"""Real Kafka and PostgreSQL for tests in Python: deploy/services.py, and how to find those that CTest started.

    shared()                the ones that all tests share: use topics and databases of your own, hurt nobody
    with Services(folder)   your own, for tests that kill and pause; erased at the end
"""

import importlib.util
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy/services.py"


def loaded():
    """deploy/services.py, which has the name of this file."""
    spec = importlib.util.spec_from_file_location("varve_services", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


module = loaded()
Services, ServicesError = module.Services, module.ServicesError


def shared():
    """The Services of $VARVE_SERVICES (CTest sets it), else of `./dev services start`. Raises if they do not run."""
    path = Path(os.environ.get("VARVE_SERVICES") or ROOT / "build/services/services.json")
    if not path.exists():
        raise ServicesError(f"there is no {path}: ./dev services start")
    return Services(path.parent)
