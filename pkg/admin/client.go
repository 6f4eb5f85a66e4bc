// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/state"
)

// Client sends requests to the reaper that listens on a unix socket.
type Client struct {
	// Waiting is called once for each request whose answer has not begun after 2 s, from another goroutine; it may be nil.
	Waiting func()

	socket string
	dialer dialer
	http   http.Client
}

// NewClient returns a client of the socket at path. It connects for each request.
func NewClient(path string) *Client {
	c := &Client{socket: path, dialer: dialer{path: path}}
	c.http.Transport = &http.Transport{DialContext: c.dialer.dial, DisableKeepAlives: true}
	return c
}

// ErrNotRunning is the error where no reaper listens on the socket.
var ErrNotRunning = errors.New("no reaper is running")

// ErrRefused wraps the error that the reaper has answered with.
var ErrRefused = errors.New("the reaper returned an error")

// Status returns the current state of the reaper.
func (c *Client) Status(ctx context.Context) (s api.Status, err error) {
	return s, c.ask(ctx, http.MethodGet, "/v1/status", nil, answerTimeout, whole(&s))
}

// Health returns an error unless the reaper can do its work.
func (c *Client) Health(ctx context.Context) (h api.Health, err error) {
	return h, c.ask(ctx, http.MethodGet, "/healthz", nil, answerTimeout, whole(&h))
}

// Live returns an error unless the reaper runs; it may be unable to do its work.
func (c *Client) Live(ctx context.Context) (h api.Health, err error) {
	return h, c.ask(ctx, http.MethodGet, "/livez", nil, answerTimeout, whole(&h))
}

// Sockets returns the sockets that q selects.
func (c *Client) Sockets(ctx context.Context, q api.SocketQuery) (list api.SocketList, err error) {
	// A stopped reaper is reported within answerTimeout, however long the list may take.
	if err := c.ask(ctx, http.MethodGet, "/livez", nil, answerTimeout, nil); errors.Is(err, ErrNoAnswer) {
		return list, err
	}
	return list, c.ask(ctx, http.MethodGet, socketParams(&q).encode("/v1/sockets"), nil, listTimeout, lines(func(d *json.Decoder) (err error) {
		list, err = readSockets(d)
		return err
	}))
}

// Leaks returns the groups of leaked sockets that q selects.
func (c *Client) Leaks(ctx context.Context, q api.LeakQuery) (list api.LeakList, err error) {
	return list, c.ask(ctx, http.MethodGet, leakParams(&q).encode("/v1/leaks"), nil, answerTimeout, whole(&list))
}

// History returns entries of the history, newest last.
func (c *Client) History(ctx context.Context, q api.HistoryQuery) (api.HistoryPage, error) {
	entries := []api.Entry{}
	end, err := c.EachEntry(ctx, q, func(e *api.Entry) error {
		entries = append(entries, *e)
		return nil
	})
	if err != nil {
		return api.HistoryPage{}, err
	}
	return end.Page(entries), nil
}

// EachEntry calls yield with each entry of the history that q selects, the newest last, until yield returns an error. A
// history on disk of 256 MiB takes seconds.
func (c *Client) EachEntry(ctx context.Context, q api.HistoryQuery, yield func(*api.Entry) error) (end api.HistoryEnd, err error) {
	// A stopped reaper is reported within answerTimeout, however long the history may take.
	if q.Wait == 0 {
		if err := c.ask(ctx, http.MethodGet, "/livez", nil, answerTimeout, nil); errors.Is(err, ErrNoAnswer) {
			return end, err
		}
	}
	return end, c.askHeld(ctx, q.Wait, http.MethodGet, historyParams(&q).encode("/v1/history"), nil, listTimeout, lines(func(d *json.Decoder) (err error) {
		end, err = readHistory(d, yield)
		return err
	}))
}

// SetMode sets the node's switch, and returns the mode that results.
func (c *Client) SetMode(ctx context.Context, m api.ModeRequest) (view api.ModeView, err error) {
	return view, c.ask(ctx, http.MethodPut, "/v1/mode", m, answerTimeout, whole(&view))
}

// DryRun returns what a switch to destroy of a scope would do at once.
func (c *Client) DryRun(ctx context.Context, scope state.Scope) (run api.DryRun, err error) {
	return run, c.ask(ctx, http.MethodGet, scopeParams(&scope).encode("/v1/mode/dry-run"), nil, answerTimeout, whole(&run))
}

// HandOver asks the reaper to stop, so that another one can take its place.
func (c *Client) HandOver(ctx context.Context) error {
	return c.ask(ctx, http.MethodPost, "/v1/handover", nil, answerTimeout, nil)
}

// ask sends one request, with a body unless that is nil, and reads the answer to it unless read is nil. It fails if nothing
// arrives for timeout.
func (c *Client) ask(ctx context.Context, method, path string, body any, timeout time.Duration, read reader) error {
	return c.askHeld(ctx, 0, method, path, body, timeout, read)
}

// askHeld is ask for a request that the reaper holds for up to a time before it answers.
func (c *Client) askHeld(ctx context.Context, held time.Duration, method, path string, body any, timeout time.Duration, read reader) error {
	ctx, silence, cancel := limitSilence(ctx, held+timeout)
	defer cancel()
	var content io.Reader = http.NoBody
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("ask the reaper: %w", err)
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://reaper"+path, content)
	if err != nil {
		return fmt.Errorf("ask the reaper: %w", err)
	}
	if c.Waiting != nil {
		waiting := time.AfterFunc(held+waitingAfter, c.Waiting)
		defer waiting.Stop()
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.explain(ctx, err)
	}
	defer resp.Body.Close()
	silence.restart()
	if resp.StatusCode >= http.StatusBadRequest {
		return refusal(resp)
	}
	if read == nil {
		return nil
	}
	if err := read(resp.Header.Get("Content-Type"), json.NewDecoder(noisyReader{resp.Body, silence})); err != nil {
		return c.explain(ctx, err)
	}
	return nil
}

// reader decodes an answer of a content type.
type reader func(contentType string, d *json.Decoder) error

// whole returns a reader of one JSON value.
func whole(into any) reader {
	return func(_ string, d *json.Decoder) error { return d.Decode(into) }
}

// lines returns a reader of NDJSON. An older reaper answers with one object, which would be taken for a list that is cut
// short.
func lines(read func(*json.Decoder) error) reader {
	return func(contentType string, d *json.Decoder) error {
		if contentType != linesType {
			return fmt.Errorf("the answer has the content type %q, not %s: restart a reaper of another version", contentType, linesType)
		}
		return read(d)
	}
}

// refusal returns the error that the reaper answered with.
func refusal(resp *http.Response) error {
	var p problem
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&p); err != nil || p.Error == "" {
		p.Error = resp.Status
	}
	return fmt.Errorf("%w: %s", ErrRefused, p.Error)
}

// explain returns err with advice, for a reaper that cannot be reached or whose answer cannot be read.
func (c *Client) explain(ctx context.Context, err error) error {
	if silence, ok := errors.AsType[silenceError](context.Cause(ctx)); ok {
		return c.dialer.noAnswer(" within " + silence.limit.String())
	}
	if ctx.Err() != nil {
		err = ctx.Err() // which caused err
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // without the URL, which users do not know
	}
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("ask the reaper: %w", err)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%w: nothing listens on %s", ErrNotRunning, c.socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s belongs to another user: run this as root", c.socket)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, unix.EAGAIN): // of a full backlog
		return c.dialer.noAnswer("")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return fmt.Errorf("the reaper that listens on %s exited before its answer was complete: see its log, and retry", c.socket)
	}
	return fmt.Errorf("the server on %s does not answer like a reaper of this version: %w", c.socket, err)
}
