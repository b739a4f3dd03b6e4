"""Query parameters that are refused, in our words."""

from typing import Annotated, Literal

import httpx
import pytest
from fastapi import FastAPI, Query
from fastapi.exceptions import RequestValidationError
from httpx import ASGITransport
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cloud.problems import of_validation


async def look(
    state: Literal["", "pending", "failed"] = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
    share: float = 0.5,
) -> Response:
    return JSONResponse({})


def app() -> FastAPI:
    app = FastAPI()
    app.add_api_route("/look", look)

    @app.exception_handler(RequestValidationError)
    async def refuse(request: Request, error: RequestValidationError) -> Response:
        return JSONResponse(of_validation(error.errors()).problems)

    return app


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("state=zz", "state: 'zz' is none; allowed: pending, failed"),
        ("limit=many", "limit: 'many' is none; allowed: a whole number"),
        ("limit=0", "limit: '0' is none; allowed: at least 1"),
        ("limit=101", "limit: '101' is none; allowed: at most 100"),
        ("share=half", "share: 'half' is none; allowed: a number"),
    ],
)
async def test_a_parameter_is_refused_by_name_with_what_is_allowed(query: str, said: str) -> None:
    """Not in the words of the library that found it."""
    async with httpx.AsyncClient(transport=ASGITransport(app()), base_url="http://cloud") as client:
        assert (await client.get(f"/look?{query}")).json() == [said]
