package latchkey

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// SourceErrorCode is the kind of a failure.
type SourceErrorCode string

const (
	// Refused: the username, the password or the token is not accepted.
	Refused SourceErrorCode = "refused"
	// RateLimited: too many failed logins.
	RateLimited SourceErrorCode = "rate_limited"
	// Unavailable: Latchkey does not answer, or answers that it cannot serve now.
	Unavailable SourceErrorCode = "unavailable"
	// Protocol: the answer is not Latchkey's, or the request is wrong.
	Protocol SourceErrorCode = "protocol"
	// Closed: the source was closed.
	Closed SourceErrorCode = "closed"
)

// A SourceError is the error of a token source. It holds no password and no token.
type SourceError struct {
	Code    SourceErrorCode
	Message string
	// RetryAfter is how long Latchkey asks to wait; 0 if it does not.
	RetryAfter time.Duration
}

func (e *SourceError) Error() string { return "latchkey: " + e.Message }

// Retryable reports whether the same call may succeed later.
func (e *SourceError) Retryable() bool { return e.Code == RateLimited || e.Code == Unavailable }

var errClosed = &SourceError{Code: Closed, Message: "the token source is closed"}

func asSourceError(err error) *SourceError {
	var failure *SourceError
	if errors.As(err, &failure) {
		return failure
	}
	return &SourceError{Code: Unavailable, Message: "Latchkey cannot be asked"}
}

const answerBytesMax = 65_536

// A call is one of auth.v1.AuthService, in the Connect protocol with JSON.
type call struct {
	client  *http.Client
	baseURL string
	timeout time.Duration
}

func (c call) login(ctx context.Context, credentials Credentials) (string, error) {
	message := map[string]string{"username": credentials.Username, "password": credentials.Password}
	return c.do(ctx, "Login", message, "")
}

func (c call) issueToken(ctx context.Context, bearer string) (string, error) {
	return c.do(ctx, "IssueToken", map[string]string{}, bearer)
}

func (c call) do(ctx context.Context, method string, message any, bearer string) (string, error) {
	body, err := json.Marshal(message)
	if err != nil {
		return "", err
	}
	address := c.baseURL + "/auth.v1.AuthService/" + method
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Connect-Protocol-Version", "1")
	request.Header.Set("Connect-Timeout-Ms", strconv.FormatInt(max(1, c.timeout.Milliseconds()), 10))
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, answerBytesMax))
	if err != nil {
		return "", err
	}
	var answer struct {
		AccessToken string        `json:"accessToken"`
		Code        string        `json:"code"`
		Details     []errorDetail `json:"details"`
	}
	parsed := json.Unmarshal(text, &answer)
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return "", failureOf(response, answer.Code, answer.Details)
	}
	if parsed != nil || lifeOf(answer.AccessToken) <= 0 {
		return "", &SourceError{Code: Protocol, Message: address + " answers with no token"}
	}
	return answer.AccessToken, nil
}

type errorDetail struct{ Type, Value string }

func failureOf(response *http.Response, code string, details []errorDetail) *SourceError {
	seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
	failure := &SourceError{RetryAfter: max(0, time.Duration(seconds)*time.Second)}
	if err != nil {
		failure.RetryAfter = retryInfo(details)
	}
	switch {
	case code == "unauthenticated":
		failure.Code, failure.Message = Refused, "Latchkey refuses the credentials"
	case code == "resource_exhausted" || response.StatusCode == http.StatusTooManyRequests:
		failure.Code, failure.Message = RateLimited, "Latchkey has had too many failed logins"
	case code == "invalid_argument" || code == "unimplemented" || response.StatusCode == http.StatusNotFound:
		failure.Code, failure.Message = Protocol, "Latchkey does not understand the request"
	default:
		failure.Code = Unavailable
		failure.Message = fmt.Sprintf("Latchkey answers %d", response.StatusCode)
	}
	return failure
}

// retryInfo is the retry_delay of a google.rpc.RetryInfo among the details of a Connect error.
func retryInfo(details []errorDetail) (delay time.Duration) {
	for _, detail := range details {
		bytes, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(detail.Value, "="))
		if detail.Type != "google.rpc.RetryInfo" || err != nil || len(bytes) < 2 {
			continue
		}
		// After the tag and the length of the duration: its seconds (1) and nanoseconds (2), as varints.
		for rest := bytes[2:]; len(rest) > 0; {
			value, size := binary.Uvarint(rest[1:])
			if size <= 0 {
				return 0
			}
			unit := time.Nanosecond
			if rest[0]>>3 == 1 {
				unit = time.Second
			}
			delay += time.Duration(min(value, math.MaxInt32)) * unit
			rest = rest[1+size:]
		}
	}
	return delay
}

// lifeOf is exp - iat, or 0. The claims are read but not verified, because the token came from Latchkey itself.
func lifeOf(token string) time.Duration {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return 0
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return 0
	}
	var claims struct{ Exp, Iat float64 }
	if json.Unmarshal(text, &claims) != nil {
		return 0
	}
	return time.Duration((claims.Exp - claims.Iat) * float64(time.Second))
}
