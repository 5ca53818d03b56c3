package latchkey

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// Runs the cases of ../cases.json; ../README.md describes the steps. LATCHKEY_CONTROL is the address of the test that
// controls the server.
var control = os.Getenv("LATCHKEY_CONTROL")

const waitFor = 30 * time.Second

type step map[string]json.RawMessage

type tableCase struct {
	ID      string
	Options options
	Steps   []step
}

type options struct {
	HTTP2              bool
	RenewAt            float64
	TimeoutMs          float64
	LeewaySeconds      *float64
	Audience           string
	Revocations        bool
	WithoutRevocations string
}

type caseStart struct {
	BaseURL, HTTP2URL, Certificate, JwksURL, RevocationsURL string
	Issuer, Username, Password, NewPassword                 string
	NowMs                                                   float64
}

type run interface {
	do(name string, value json.RawMessage) error
	close()
}

func TestTable(t *testing.T) {
	if control == "" {
		t.Skip("LATCHKEY_CONTROL is not set: run `npm test -- test/kit/languages`")
	}
	text, err := os.ReadFile("../cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var table struct{ Clients, Verifiers []tableCase }
	if err := json.Unmarshal(text, &table); err != nil {
		t.Fatal(err)
	}
	passed, failed := 0, 0
	play := func(cases []tableCase, newRun func(caseStart, options) (run, error)) {
		for _, each := range cases {
			ok := t.Run(each.ID, func(t *testing.T) {
				var start caseStart
				if err := command("case", nil, &start); err != nil {
					t.Fatal(err)
				}
				run, err := newRun(start, each.Options)
				if err != nil {
					t.Fatal(err)
				}
				defer run.close()
				for _, step := range each.Steps {
					for name, value := range step {
						if err := run.do(name, value); err != nil {
							t.Fatalf("at %s %s: %v", name, value, err)
						}
					}
				}
			})
			if ok {
				passed++
			} else {
				failed++
			}
		}
	}
	play(table.Clients, newClientRun)
	play(table.Verifiers, newVerifierRun)
	fmt.Printf("%d passed, %d failed\n", passed, failed)
}

func command(name string, value, result any) error {
	body := []byte{}
	if value != nil {
		body, _ = json.Marshal(value)
	}
	response, err := http.Post(control+"/"+name, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK {
		return errors.New(string(text))
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(text, result)
}

// A movedClock is a clock that only the test moves.
type movedClock struct {
	mu    sync.Mutex
	now   time.Time
	moved chan struct{}
	due   map[int]dueWork
	next  int
}

type dueWork struct {
	at   time.Time
	work func()
}

func newMovedClock(now float64) *movedClock {
	return &movedClock{now: time.UnixMilli(int64(now)), moved: make(chan struct{}), due: map[int]dueWork{}}
}

func (c *movedClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *movedClock) AfterFunc(d time.Duration, work func()) func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := c.next
	c.next++
	c.due[id] = dueWork{c.now.Add(d), work}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.due, id)
	}
}

func (c *movedClock) Sleep(ctx context.Context, d time.Duration) error {
	until := c.Now().Add(d)
	for {
		c.mu.Lock()
		now, moved := c.now, c.moved
		c.mu.Unlock()
		if !now.Before(until) {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *movedClock) advance(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	close(c.moved)
	c.moved = make(chan struct{})
	var work []func()
	for id, each := range c.due {
		if !each.at.After(c.now) {
			work = append(work, each.work)
			delete(c.due, id)
		}
	}
	c.mu.Unlock()
	for _, each := range work {
		each()
	}
}

func expectCounts(value json.RawMessage) error {
	var wanted map[string]int
	if err := json.Unmarshal(value, &wanted); err != nil {
		return err
	}
	for deadline := time.Now().Add(waitFor); ; {
		if err := command("settle", nil, nil); err != nil {
			return err
		}
		var counts map[string]int
		if err := command("counts", nil, &counts); err != nil {
			return err
		}
		isShort, isSame := false, true
		for name, count := range wanted {
			isShort = isShort || counts[name] < count
			isSame = isSame && counts[name] == count
		}
		if isSame {
			return command("clear", nil, nil)
		}
		if !isShort || time.Now().After(deadline) {
			return fmt.Errorf("%v", counts)
		}
	}
}

// moveServer runs the steps that concern the server.
func moveServer(clock *movedClock, name string, value json.RawMessage) (done bool, err error) {
	switch name {
	case "advance", "skew":
		var seconds float64
		if err := json.Unmarshal(value, &seconds); err != nil {
			return true, err
		}
		if name == "advance" {
			if err := command(name, value, nil); err != nil {
				return true, err
			}
		}
		clock.advance(time.Duration(seconds * float64(time.Second)))
		return true, command("settle", nil, nil)
	case "calls", "reads":
		return true, expectCounts(value)
	case "server", "fault", "user", "keys":
		var before, after struct{ NowMs float64 }
		if err := command("advance", 0, &before); err != nil {
			return true, err
		}
		if err := command(name, value, nil); err != nil {
			return true, err
		}
		if err := command("advance", 0, &after); err != nil {
			return true, err
		}
		// Some of these steps advance the server's clock.
		clock.advance(time.Duration((after.NowMs - before.NowMs) * float64(time.Millisecond)))
		return true, nil
	}
	return false, nil
}

type clientRun struct {
	start    caseStart
	clock    *movedClock
	source   *TokenSource
	mu       sync.Mutex
	password string
	last     string
	begun    []chan error
}

func newClientRun(start caseStart, o options) (run, error) {
	r := &clientRun{start: start, clock: newMovedClock(start.NowMs), password: start.Password}
	credentials := func(context.Context) (Credentials, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return Credentials{start.Username, r.password}, nil
	}
	baseURL, client := start.BaseURL, (*http.Client)(nil)
	if o.HTTP2 {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(start.Certificate))
		tls := &tls.Config{RootCAs: roots}
		baseURL = start.HTTP2URL
		client = &http.Client{Transport: &http.Transport{TLSClientConfig: tls, ForceAttemptHTTP2: true}}
	}
	source, err := NewTokenSource(baseURL, credentials, SourceOptions{
		HTTPClient: client,
		RenewAt:    o.RenewAt,
		Timeout:    time.Duration(o.TimeoutMs * float64(time.Millisecond)),
		Clock:      r.clock,
		Random:     func() float64 { return 0.5 },
	})
	r.source = source
	return r, err
}

func (r *clientRun) close() { r.source.Close() }

func (r *clientRun) do(name string, value json.RawMessage) error {
	if done, err := moveServer(r.clock, name, value); done {
		return err
	}
	var text string
	_ = json.Unmarshal(value, &text)
	ctx := context.Background()
	switch name {
	case "token":
		return r.ask(value)
	case "tokens":
		return r.askTogether(value)
	case "begin":
		ended := make(chan error, 1)
		r.begun = append(r.begun, ended)
		go func() { ended <- r.ask(value) }()
	case "finish":
		for _, ended := range r.begun {
			if err := r.finish(ended); err != nil {
				return err
			}
		}
	case "cancel":
		cancelled, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		if _, err := r.source.AccessToken(cancelled); !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("nobody gave up: %v", err)
		}
	case "replace":
		other, ok := r.source.Replace(ctx, r.last)
		if ok != (text == "other") || (ok && other == r.last) {
			return fmt.Errorf("replaced: %v", ok)
		}
		if ok {
			r.last = other
		}
	case "retry":
		r.source.Retry()
	case "credentials":
		r.mu.Lock()
		defer r.mu.Unlock()
		r.password = map[string]string{
			"right": r.start.Password, "wrong": "a wrong one", "new": r.start.NewPassword,
		}[text]
	case "close":
		r.source.Close()
	case "deadline":
		var most, seen struct{ Ms float64 }
		if err := command("deadline", nil, &seen); err != nil {
			return err
		}
		_ = json.Unmarshal(value, &most.Ms)
		if seen.Ms <= 0 || seen.Ms > most.Ms {
			return fmt.Errorf("%v ms", seen.Ms)
		}
	default:
		return errors.New("no such step")
	}
	return nil
}

// What was begun may fail yet, and then waits for the clock.
func (r *clientRun) finish(ended chan error) error {
	for deadline := time.Now().Add(waitFor); time.Now().Before(deadline); {
		select {
		case err := <-ended:
			return err
		case <-time.After(500 * time.Millisecond):
			if _, err := moveServer(r.clock, "advance", json.RawMessage("1")); err != nil {
				return err
			}
		}
	}
	return errors.New("it did not end")
}

func (r *clientRun) ask(value json.RawMessage) error {
	ctx := context.Background()
	var wantedError struct{ Error SourceErrorCode }
	if json.Unmarshal(value, &wantedError) == nil {
		_, err := r.source.AccessToken(ctx)
		var failure *SourceError
		if !errors.As(err, &failure) || failure.Code != wantedError.Error {
			return fmt.Errorf("%v", err)
		}
		return nil
	}
	var wanted string
	_ = json.Unmarshal(value, &wanted)
	token, err := r.source.AccessToken(ctx)
	for deadline := time.Now().Add(waitFor); wanted == "other" && token == r.last && time.Now().Before(deadline); {
		if err := command("settle", nil, nil); err != nil {
			return err
		}
		token, err = r.source.AccessToken(ctx)
	}
	if err != nil {
		return err
	}
	if (wanted == "same" && token != r.last) || (wanted == "other" && token == r.last) {
		return errors.New("not so")
	}
	r.last = token
	return nil
}

func (r *clientRun) askTogether(value json.RawMessage) error {
	var count int
	_ = json.Unmarshal(value, &count)
	tokens := make(chan string, count)
	for range count {
		go func() {
			token, _ := r.source.AccessToken(context.Background())
			tokens <- token
		}()
	}
	found := map[string]bool{}
	for range count {
		r.last = <-tokens
		found[r.last] = true
	}
	if len(found) != 1 || found[""] {
		return fmt.Errorf("%d tokens", len(found))
	}
	return nil
}

type verifierRun struct {
	clock    *movedClock
	verifier *Verifier
	token    string
}

func newVerifierRun(start caseStart, o options) (run, error) {
	r := &verifierRun{clock: newMovedClock(start.NowMs)}
	options := VerifierOptions{
		Now:                      r.clock.Now,
		Timeout:                  time.Duration(o.TimeoutMs * float64(time.Millisecond)),
		AcceptWithoutRevocations: o.WithoutRevocations == "open",
	}
	if o.LeewaySeconds != nil {
		options.Leeway = time.Duration(*o.LeewaySeconds * float64(time.Second))
		if options.Leeway == 0 {
			options.Leeway = -1
		}
	}
	if o.Audience != "" {
		options.Audience = []string{o.Audience}
	}
	if o.Revocations {
		options.RevocationsURL = start.RevocationsURL
	}
	verifier, err := NewVerifier(start.Issuer, start.JwksURL, options)
	r.verifier = verifier
	return r, err
}

func (r *verifierRun) close() {}

func (r *verifierRun) do(name string, value json.RawMessage) error {
	if done, err := moveServer(r.clock, name, value); done {
		return err
	}
	switch name {
	case "issue", "mint":
		var made struct{ Token string }
		err := command(name, value, &made)
		r.token = made.Token
		return err
	case "raw":
		return json.Unmarshal(value, &r.token)
	case "tokenAsList":
		return command("fault", map[string]any{
			"on": "revocations", "status": 200, "headers": map[string]string{}, "body": r.token,
		}, nil)
	case "verify":
		var wanted string
		_ = json.Unmarshal(value, &wanted)
		if verdict := r.verdict(r.token); verdict != wanted {
			return errors.New(verdict)
		}
		return nil
	case "flood":
		return r.flood(value)
	case "demand":
		return r.demand(value)
	}
	return errors.New("no such step")
}

func (r *verifierRun) demand(value json.RawMessage) error {
	var demanded struct {
		Scheme, Authorization *string
		Roles                 []string
		Answers               string
	}
	_ = json.Unmarshal(value, &demanded)
	sent := "Bearer " + r.token
	if demanded.Scheme != nil {
		sent = *demanded.Scheme + r.token
	}
	if demanded.Authorization != nil {
		sent = *demanded.Authorization
	}
	next := http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if ClaimsOf(request.Context()) == nil {
			w.WriteHeader(http.StatusTeapot)
		}
	})
	request := httptest.NewRequest(http.MethodPost, "/", unread{})
	if sent != "" {
		request.Header.Set("Authorization", sent)
	}
	recorder := httptest.NewRecorder()
	r.verifier.Demand(next, demanded.Roles...).ServeHTTP(recorder, request)
	detail := cmp.Or(recorder.Header().Get("WWW-Authenticate"), recorder.Header().Get("Retry-After"))
	answer := strings.TrimSpace(fmt.Sprint(recorder.Code, " ", detail))
	if answer != demanded.Answers {
		return errors.New(answer)
	}
	return nil
}

// An unread body is one that nobody may read.
type unread struct{}

func (unread) Read([]byte) (int, error) { panic("the body is read") }

func (r *verifierRun) verdict(token string) string {
	_, err := r.verifier.Verify(token)
	var refusal *TokenRefused
	if errors.As(err, &refusal) {
		return string(refusal.Code)
	}
	return "ok"
}

func (r *verifierRun) flood(value json.RawMessage) error {
	var count int
	_ = json.Unmarshal(value, &count)
	verdicts := make(chan string, count)
	for index := range count {
		go func() {
			header := fmt.Sprintf(`{"alg":"RS256","kid":"nobody %d"}`, index)
			rest := r.token[bytes.IndexByte([]byte(r.token), '.'):]
			verdicts <- r.verdict(base64.RawURLEncoding.EncodeToString([]byte(header)) + rest)
		}()
	}
	for range count {
		if verdict := <-verdicts; verdict != string(UnknownKey) {
			return errors.New(verdict)
		}
	}
	return nil
}
