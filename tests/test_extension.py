"""The app can be extended as FastAPI documents it: dependencies and middleware see every request and every answer."""

import pytest

pytestmark = pytest.mark.anyio
