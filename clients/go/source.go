// Package latchkey is a token source and a verifier for services that use Latchkey.
package latchkey

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
)

const (
	replacePause = 10 * time.Second
	backOff      = time.Second
	backOffMax   = time.Minute
)

// Credentials are the username and password of a service.
type Credentials struct{ Username, Password string }

// SourceOptions are the options of a token source; the zero value of each means its default.
type SourceOptions struct {
	// RenewAt is the part of a token's lifetime after which it is renewed. From .1 to .95, default .8.
	RenewAt float64
	// Jitter: renewals come earlier by a random part of the lifetime, up to this one. At most .1, default .05; a negative
	// value means none.
	Jitter float64
	// Timeout limits one Token that has to call Latchkey, retries included. From 100 ms, default 10 s.
	Timeout time.Duration
	// RefusedPause is the time during which refused credentials are not sent again. From 1 min, default 5 min.
	RefusedPause time.Duration
	// OnEvent is called with "logged_in", "renewed" and "failed", the last with its error.
	OnEvent func(event string, err *SourceError)
	// HTTPClient calls Latchkey. Default one that follows no redirects.
	HTTPClient *http.Client
	// Clock is the client's clock. Default the system's.
	Clock Clock
	// Random returns numbers from 0 to 1. Default that of math/rand.
	Random func() float64
}

// A TokenSource logs in once, keeps the token fresh, and goes on with its current token while Latchkey is unavailable.
// It is safe for concurrent use.
type TokenSource struct {
	baseURL     string
	credentials func(context.Context) (Credentials, error)
	options     SourceOptions
	closing     context.Context
	close       context.CancelFunc

	mu          sync.Mutex
	held        *held
	flight      *flight
	cancelTimer func()
	failure     *SourceError
	failedUntil time.Time
	failures    int
	replacedAt  time.Time
}

type held struct {
	token              string
	renewAt, expiresAt time.Time
}

// A flight is a call that its callers share. Its result is set before done is closed.
type flight struct {
	done chan struct{}
	held *held
	err  error
}

// NewTokenSource returns a token source. It calls credentials before each login.
func NewTokenSource(
	baseURL string,
	credentials func(context.Context) (Credentials, error),
	options SourceOptions,
) (*TokenSource, error) {
	if parsed, err := url.Parse(baseURL); err != nil || parsed.Host == "" {
		return nil, fmt.Errorf("latchkey: %q is no URL", baseURL)
	}
	setDefault(&options.RenewAt, 0.8)
	setDefault(&options.Jitter, 0.05)
	setDefault(&options.Timeout, 10*time.Second)
	setDefault(&options.RefusedPause, 5*time.Minute)
	options.Jitter = math.Max(0, options.Jitter)
	if options.RenewAt < 0.1 || options.RenewAt > 0.95 || options.Jitter > 0.1 ||
		options.Timeout < 100*time.Millisecond || options.RefusedPause < time.Minute {
		return nil, errors.New("latchkey: an option is out of its range")
	}
	if options.HTTPClient == nil {
		options.HTTPClient = &http.Client{CheckRedirect: followNone}
	}
	if options.Clock == nil {
		options.Clock = systemClock{}
	}
	if options.Random == nil {
		options.Random = rand.Float64
	}
	closing, cancel := context.WithCancel(context.Background())
	return &TokenSource{
		baseURL:     strings.TrimRight(baseURL, "/"),
		credentials: credentials,
		options:     options,
		closing:     closing,
		close:       cancel,
		cancelTimer: func() {},
	}, nil
}

// Static returns the same credentials at each login.
func Static(username, password string) func(context.Context) (Credentials, error) {
	return func(context.Context) (Credentials, error) { return Credentials{username, password}, nil }
}

// followNone follows no redirects: credentials must go to the configured address only.
func followNone(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// AccessToken returns the token, which all callers share until it is renewed. The context ends this caller's wait only.
// Any other error is a *SourceError.
func (s *TokenSource) AccessToken(ctx context.Context) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	s.mu.Lock()
	now := s.options.Clock.Now()
	switch {
	case s.closing.Err() != nil:
		s.mu.Unlock()
		return "", errClosed
	case s.held != nil && now.Before(s.held.expiresAt):
		// The timer may be late, for example after the machine has slept.
		if !now.Before(s.held.renewAt) && !now.Before(s.failedUntil) {
			s.acquire()
		}
		token := s.held.token
		s.mu.Unlock()
		return token, nil
	case s.failure != nil && now.Before(s.failedUntil):
		failure := s.failure
		s.mu.Unlock()
		return "", failure
	}
	flight := s.acquire()
	s.mu.Unlock()
	return flight.wait(ctx)
}

func (f *flight) wait(ctx context.Context) (string, error) {
	select {
	case <-f.done:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if f.err != nil {
		return "", f.err
	}
	return f.held.token, nil
}

// Replace returns another token in place of refused, which a service has refused. There is none while Latchkey is
// unavailable, or if this was called less than ten seconds ago.
func (s *TokenSource) Replace(ctx context.Context, refused string) (token string, ok bool) {
	s.mu.Lock()
	if s.held != nil && s.held.token != refused {
		defer s.mu.Unlock()
		return s.held.token, true
	}
	now := s.options.Clock.Now()
	isPaused := s.failure != nil && now.Before(s.failedUntil)
	if isPaused || (!s.replacedAt.IsZero() && now.Before(s.replacedAt.Add(replacePause))) {
		s.mu.Unlock()
		return "", false
	}
	s.replacedAt = now
	flight := s.acquire()
	s.mu.Unlock()
	token, err := flight.wait(ctx)
	return token, err == nil
}

// Retry forgets that credentials were refused, so that the next AccessToken logs in.
func (s *TokenSource) Retry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure, s.failures = nil, 0
}

// Close ends the renewals. After it, no token is returned.
func (s *TokenSource) Close() {
	s.close()
	s.mu.Lock()
	s.cancelTimer()
	flight := s.flight
	s.mu.Unlock()
	if flight != nil {
		<-flight.done
	}
}

// Token makes the source an oauth2.TokenSource.
func (s *TokenSource) Token() (*oauth2.Token, error) {
	token, err := s.AccessToken(context.Background())
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: token, TokenType: "Bearer"}, nil
}

// GetRequestMetadata makes the source a credentials.PerRPCCredentials of gRPC.
func (s *TokenSource) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := s.AccessToken(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

// RequireTransportSecurity is true: a token is as good as a password until it expires.
func (s *TokenSource) RequireTransportSecurity() bool { return true }

// Transport returns a RoundTripper that sends the token, and repeats a request once with another token after a 401, if
// its body can be sent again. A nil base means http.DefaultTransport.
func (s *TokenSource) Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{s, base}
}

type transport struct {
	source *TokenSource
	base   http.RoundTripper
}

func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx := request.Context()
	token, err := t.source.AccessToken(ctx)
	if err != nil {
		return nil, err
	}
	response, err := t.base.RoundTrip(withToken(request, token))
	if err != nil || response.StatusCode != http.StatusUnauthorized {
		return response, err
	}
	again := request.Clone(ctx)
	if request.Body != nil && request.Body != http.NoBody {
		if request.GetBody == nil {
			return response, nil
		}
		if again.Body, err = request.GetBody(); err != nil {
			return response, nil
		}
	}
	other, ok := t.source.Replace(ctx, token)
	if !ok {
		return response, nil
	}
	_ = response.Body.Close()
	return t.base.RoundTrip(withToken(again, other))
}

// withToken copies the request, because a RoundTripper must not change it.
func withToken(request *http.Request, token string) *http.Request {
	copied := request.Clone(request.Context())
	copied.Header.Set("Authorization", "Bearer "+token)
	return copied
}

// acquire gets a new token; all callers share one call. The caller holds the lock.
func (s *TokenSource) acquire() *flight {
	if s.flight == nil {
		flight := &flight{done: make(chan struct{})}
		s.flight = flight
		deadline := s.options.Clock.Now().Add(s.options.Timeout)
		go func() {
			flight.held, flight.err = s.attempt(deadline)
			s.mu.Lock()
			s.flight = nil
			s.mu.Unlock()
			close(flight.done)
		}()
	}
	return s.flight
}

// attempt calls Latchkey until there is a token, the time is over, or another call cannot help.
func (s *TokenSource) attempt(deadline time.Time) (*held, error) {
	clock := s.options.Clock
	for {
		sentAt := clock.Now()
		event, token, err := s.ask(deadline.Sub(sentAt))
		if err == nil {
			return s.hold(event, token, sentAt), nil
		}
		if s.closing.Err() != nil {
			return nil, errClosed
		}
		failure := asSourceError(err)
		wait := s.fail(failure)
		// While the current token is valid nobody waits, so the timer makes the next attempt.
		mayWait := failure.Retryable() && s.current() == nil
		if !mayWait || !clock.Now().Add(wait).Before(deadline) {
			return nil, failure
		}
		if clock.Sleep(s.closing, wait) != nil {
			return nil, errClosed
		}
	}
}

// ask renews the token if there is a valid one. Otherwise, or if that is refused, it logs in by the password.
func (s *TokenSource) ask(timeout time.Duration) (event, token string, err error) {
	ctx, cancel := context.WithTimeout(s.closing, max(timeout, time.Millisecond))
	defer cancel()
	call := call{s.options.HTTPClient, s.baseURL, timeout}
	if held := s.current(); held != nil {
		token, err = call.issueToken(ctx, held.token)
		var failure *SourceError
		if err == nil || !errors.As(err, &failure) || failure.Code != Refused {
			return "renewed", token, err
		}
	}
	credentials, err := s.credentials(ctx)
	if err != nil {
		return "", "", err
	}
	token, err = call.login(ctx, credentials)
	return "logged_in", token, err
}

// current returns the token if it is still valid, or nil.
func (s *TokenSource) current() *held {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held != nil && s.options.Clock.Now().Before(s.held.expiresAt) {
		return s.held
	}
	return nil
}

func (s *TokenSource) hold(event, token string, sentAt time.Time) *held {
	life := lifeOf(token)
	part := s.options.RenewAt - s.options.Jitter*s.options.Random()
	renewAt := sentAt.Add(time.Duration(float64(life) * part))
	next := &held{token, renewAt, sentAt.Add(life)}
	s.mu.Lock()
	s.held, s.failure, s.failures = next, nil, 0
	s.schedule(renewAt.Sub(s.options.Clock.Now()))
	s.mu.Unlock()
	s.tell(event, nil)
	return next
}

func (s *TokenSource) fail(failure *SourceError) time.Duration {
	s.mu.Lock()
	now := s.options.Clock.Now()
	pause := min(backOffMax, backOff<<min(s.failures, 10))
	s.failures++
	wait := s.options.RefusedPause
	if failure.Retryable() {
		spread := time.Duration(float64(pause) * (1 + 0.2*s.options.Random()))
		wait = max(failure.RetryAfter, spread)
	}
	s.failure, s.failedUntil = failure, now.Add(wait)
	if s.held != nil && now.Before(s.held.expiresAt) {
		s.schedule(wait)
	}
	s.mu.Unlock()
	s.tell("failed", failure)
	return wait
}

// schedule renews the token after delay. The caller holds the lock.
func (s *TokenSource) schedule(delay time.Duration) {
	s.cancelTimer()
	if s.closing.Err() == nil {
		s.cancelTimer = s.options.Clock.AfterFunc(max(0, delay), s.renew)
	}
}

func (s *TokenSource) renew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Err() == nil {
		s.acquire()
	}
}

func (s *TokenSource) tell(event string, failure *SourceError) {
	if s.options.OnEvent != nil {
		s.options.OnEvent(event, failure)
	}
}

func setDefault[T comparable](value *T, fallback T) {
	var zero T
	if *value == zero {
		*value = fallback
	}
}
