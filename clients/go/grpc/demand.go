// Package latchkeygrpc requires a token of Latchkey in calls to a gRPC server. It is a module of its own, so that the
// client itself does not depend on gRPC.
package latchkeygrpc

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	latchkey "latchkey.example/client"
)

// A Demand has the interceptors. They refuse a call before its handler: Unauthenticated without a valid token,
// PermissionDenied without the role, Unavailable if the token cannot be checked. In handlers, latchkey.ClaimsOf has the
// claims.
type Demand struct {
	Verifier *latchkey.Verifier
	// Roles are those of which the user must have one; without any, every user may pass.
	Roles []string
	// Open are the methods that need no token, such as /grpc.health.v1.Health/Check; /grpc.health.v1.Health/ means all
	// of that service.
	Open []string
}

// Unary is a grpc.UnaryServerInterceptor. grpc-go reads the message of a unary call before its interceptors.
func (d Demand) Unary(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	ctx, err := d.authorize(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	return handler(ctx, request)
}

// Stream is a grpc.StreamServerInterceptor. The messages of a refused call are not read.
func (d Demand) Stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, err := d.authorize(stream.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	return handler(server, authorized{stream, ctx})
}

type authorized struct {
	grpc.ServerStream
	ctx context.Context
}

func (a authorized) Context() context.Context { return a.ctx }

var statusCodes = map[int]codes.Code{
	http.StatusUnauthorized:       codes.Unauthenticated,
	http.StatusForbidden:          codes.PermissionDenied,
	http.StatusServiceUnavailable: codes.Unavailable,
}

func (d Demand) authorize(ctx context.Context, method string) (context.Context, error) {
	isOpen := func(open string) bool {
		return method == open || (strings.HasSuffix(open, "/") && strings.HasPrefix(method, open))
	}
	if slices.ContainsFunc(d.Open, isOpen) {
		return ctx, nil
	}
	authorization := ""
	if values := metadata.ValueFromIncomingContext(ctx, "authorization"); len(values) == 1 {
		authorization = values[0]
	}
	ctx, denial := d.Verifier.Authorize(ctx, authorization, d.Roles...)
	if denial != nil {
		return nil, status.Error(statusCodes[denial.Status], denial.Message)
	}
	return ctx, nil
}
