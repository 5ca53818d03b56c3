package latchkey

import (
	"context"
	"time"
)

// A Clock is the client's clock, which tests can replace.
type Clock interface {
	Now() time.Time
	// AfterFunc calls work in a goroutine of its own after d. The returned function cancels it.
	AfterFunc(d time.Duration, work func()) (cancel func())
	// Sleep waits for d, or until ctx is done, whose error it then returns.
	Sleep(ctx context.Context, d time.Duration) error
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) AfterFunc(d time.Duration, work func()) func() {
	timer := time.AfterFunc(d, work)
	return func() { timer.Stop() }
}

func (systemClock) Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
