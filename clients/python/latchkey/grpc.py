"""Requires a token in calls to a gRPC server: `UNAUTHENTICATED` without a valid one, `PERMISSION_DENIED` if it lacks a
role, `UNAVAILABLE` if it cannot be checked. The messages of a refused call are not read. Needs grpcio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any

import grpc
import grpc.aio

from .demand import Demand, Denial
from .verify import Claims, Verifier

#: `CLAIMS.get()` in a handler returns the claims of the call.
CLAIMS: ContextVar[Claims] = ContextVar("latchkey.claims")

_CODES = {
    HTTPStatus.UNAUTHORIZED: grpc.StatusCode.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    HTTPStatus.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}


class _GrpcDemand(Demand):
    """:param roles: roles of which the user must have one; without them any user may pass
    :param open_methods: methods that need no token, such as `/grpc.health.v1.Health/Check`;
        `/grpc.health.v1.Health/` means all of that service"""

    def __init__(
        self, verifier: Verifier, roles: Sequence[str] = (), open_methods: Sequence[str] = ()
    ) -> None:
        super().__init__(verifier, roles)
        self._open_methods = frozenset(open_methods)

    def _is_open(self, method: str) -> bool:
        return not self._open_methods.isdisjoint((method, method[: method.rfind("/") + 1]))

    def _check_call(self, details: grpc.HandlerCallDetails) -> Claims | Denial:
        values = [value for name, value in details.invocation_metadata if name == "authorization"]
        return self._check(values[0] if len(values) == 1 else "")


class GrpcDemand(_GrpcDemand, grpc.ServerInterceptor):  # type: ignore[misc]
    """For `grpc.server(…, interceptors=[GrpcDemand(verifier)])`."""

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        handler = continuation(details)
        if handler is None or self._is_open(details.method):
            return handler
        behavior = (
            handler.unary_unary
            or handler.unary_stream
            or handler.stream_unary
            or handler.stream_stream
        )

        # The server's only thread for new calls runs interceptors, so the token is verified later, in a thread of the
        # pool. The message of a unary call is read after that, because its handler is made one for a stream.
        def guarded(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            verdict = self._check_call(details)
            if isinstance(verdict, Denial):
                return context.abort(_CODES[verdict.status], verdict.message)
            CLAIMS.set(verdict)
            if handler.request_streaming:
                return behavior(requests, context)
            for request in requests:
                return behavior(request, context)
            return context.abort(grpc.StatusCode.UNIMPLEMENTED, "the call has no message")

        make = (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
        return make(guarded, handler.request_deserializer, handler.response_serializer)


class AsyncGrpcDemand(_GrpcDemand, grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """For `grpc.aio.server(interceptors=[AsyncGrpcDemand(verifier)])` with async handlers."""

    async def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        if self._is_open(details.method):
            return await continuation(details)
        verdict = await asyncio.to_thread(self._check_call, details)
        if isinstance(verdict, Claims):
            CLAIMS.set(verdict)
            return await continuation(details)

        async def refuse(_: Any, context: grpc.aio.ServicerContext) -> None:
            await context.abort(_CODES[verdict.status], verdict.message)

        # A handler for a stream can answer calls of every kind, and does not read their messages.
        return grpc.stream_stream_rpc_method_handler(refuse)
