"""Every answer that is not what was asked for, in one shape.

What went wrong inside is for our log, never for the answer.
"""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from api.names import NotKnown


def answer_problems(app: FastAPI) -> None:
    """Let `app` answer every exception in our shape."""
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(NotKnown, not_known)
    app.add_exception_handler(Exception, failed)


async def refused(request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, HTTPException)
    return JSONResponse({"error": fault.detail}, fault.status_code, headers=fault.headers)


async def invalid(request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, RequestValidationError)
    details = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in fault.errors()]
    return JSONResponse({"error": "a parameter cannot be used", "details": details}, 422)


async def not_known(request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, NotKnown)
    return JSONResponse({"error": str(fault), "known": fault.known, "near": fault.near}, 404)


async def failed(request: Request, fault: Exception) -> JSONResponse:
    return JSONResponse({"error": "internal error"}, 500)
