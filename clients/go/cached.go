package latchkey

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	bodyBytesMax   = 16 << 20
	readAheadAt    = 0.8
	readBackOffMax = 30 * time.Second
)

// A cached document is fetched over HTTP and cached by its Cache-Control (RFC 9111). While its server fails, the cached
// one is used for the time of stale-if-error (RFC 5861).
type cached[T any] struct {
	client  *http.Client
	url     string
	timeout time.Duration
	now     func() time.Time
	parse   func(body []byte) (T, error)
	// maxAge is used for an answer without one; maxAgeMax is the longest that is used.
	maxAge, maxAgeMax time.Duration
	// stale, unless negative, replaces the stale-if-error of the answer.
	stale time.Duration

	// reading is locked during a read.
	reading sync.Mutex
	// mu guards the fields below.
	mu           sync.Mutex
	value        T
	etag         string
	reads        int
	aheadAt      time.Time
	freshUntil   time.Time
	staleUntil   time.Time
	refreshedAt  time.Time
	failedUntil  time.Time
	failures     int
	readingAhead bool
}

// get returns the value, if it is fresh or may be stale; otherwise the error of the last read.
func (c *cached[T]) get() (T, error) {
	c.mu.Lock()
	now, seen := c.now(), c.reads
	if seen > 0 && now.Before(c.freshUntil) {
		defer c.mu.Unlock()
		if !now.Before(c.aheadAt) && !c.readingAhead {
			c.readingAhead = true
			go c.readAhead(seen)
		}
		return c.value, nil
	}
	c.mu.Unlock()
	err := c.read(seen)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && c.reads > 0 && c.now().Before(c.staleUntil) {
		return c.value, nil
	}
	return c.value, err
}

// refresh reads the document again, but not twice within pause, and reports whether it did. Calls during a read share
// that read.
func (c *cached[T]) refresh(pause time.Duration) bool {
	c.mu.Lock()
	now, seen := c.now(), c.reads
	if !c.refreshedAt.IsZero() && now.Before(c.refreshedAt.Add(pause)) {
		c.mu.Unlock()
		c.reading.Lock()
		defer c.reading.Unlock()
		return c.readsNow() != seen
	}
	c.refreshedAt = now
	c.mu.Unlock()
	return c.read(seen) == nil
}

func (c *cached[T]) readsNow() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reads
}

func (c *cached[T]) readAhead(seen int) {
	_ = c.read(seen)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readingAhead = false
}

// read reads once for all callers that have seen the same value; after a failure, it pauses first.
func (c *cached[T]) read(seen int) error {
	c.reading.Lock()
	defer c.reading.Unlock()
	c.mu.Lock()
	etag, isDone, isPaused := c.etag, c.reads != seen, c.now().Before(c.failedUntil)
	c.mu.Unlock()
	if isDone {
		return nil
	}
	if isPaused {
		return fmt.Errorf("%s could not be read a moment ago", c.url)
	}
	sentAt := c.now()
	response, body, err := c.fetch(etag)
	isSame := err == nil && response.StatusCode == http.StatusNotModified && seen > 0
	var value T
	if err == nil && !isSame {
		if response.StatusCode == http.StatusOK {
			value, err = c.parse(body)
		} else {
			err = fmt.Errorf("%s answers %d", c.url, response.StatusCode)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.failedUntil = c.now().Add(min(readBackOffMax, c.maxAgeMax, time.Second<<min(c.failures, 10)))
		c.failures++
		return err
	}
	if !isSame {
		c.value, c.etag = value, response.Header.Get("ETag")
	}
	c.reads, c.failures, c.failedUntil = c.reads+1, 0, time.Time{}
	maxAge, stale := c.life(response.Header)
	c.aheadAt = sentAt.Add(time.Duration(float64(maxAge) * readAheadAt))
	c.freshUntil = sentAt.Add(maxAge)
	c.staleUntil = c.freshUntil.Add(stale)
	return nil
}

func (c *cached[T]) fetch(etag string) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		return nil, nil, err
	}
	if etag != "" {
		request.Header.Set("If-None-Match", etag)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, bodyBytesMax))
	return response, body, err
}

var uncached = regexp.MustCompile(`(?i)(^|[\s,])no-(store|cache)\b`)

func (c *cached[T]) life(header http.Header) (maxAge, stale time.Duration) {
	directives := strings.Join(header.Values("Cache-Control"), ", ")
	maxAge, isGiven := secondsOf(directives, "max-age")
	if !isGiven {
		maxAge = c.maxAge
	}
	maxAge = min(maxAge, c.maxAgeMax)
	if uncached.MatchString(directives) {
		maxAge = 0
	}
	age, _ := strconv.Atoi(header.Get("Age"))
	stale = c.stale
	if stale < 0 {
		stale, _ = secondsOf(directives, "stale-if-error")
	}
	return max(0, maxAge-max(0, time.Duration(age))*time.Second), stale
}

func secondsOf(directives, name string) (time.Duration, bool) {
	found := regexp.MustCompile(`(?i)(?:^|[\s,])` + name + `\s*=\s*"?(\d{1,9})`).FindStringSubmatch(directives)
	if found == nil {
		return 0, false
	}
	seconds, _ := strconv.Atoi(found[1])
	return time.Duration(seconds) * time.Second, true
}
