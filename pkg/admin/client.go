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
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
)

// Client asks the reaper that listens on a unix socket.
type Client struct {
	socket string
	http   http.Client
}

// NewClient makes a client for the socket at path; it connects when something is asked.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	return &Client{socket: path, http: http.Client{
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: patience,
	}}
}

// patience is how long a reaper may take to answer: looking at all sockets of a full node takes seconds.
const patience = time.Minute

// ErrNotRunning says that no reaper listens on the socket.
var ErrNotRunning = errors.New("no reaper is running")

// Status asks what the reaper does now.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.ask(ctx, http.MethodGet, "/v1/status", &s)
}

// Sockets asks for sockets.
func (c *Client) Sockets(ctx context.Context, q reaper.SocketQuery) (list reaper.SocketList, err error) {
	v := url.Values{"all": {strconv.FormatBool(q.All)}, "owners": {strconv.FormatBool(q.Owners)}}
	for name, text := range map[string]string{"netns": q.Netns, "pod": q.Pod} {
		if text != "" {
			v.Set(name, text)
		}
	}
	if q.State != 0 {
		v.Set("state", q.State.String())
	}
	if q.Verdict != policy.Unknown {
		v.Set("verdict", q.Verdict.String())
	}
	return list, c.ask(ctx, http.MethodGet, "/v1/sockets?"+v.Encode(), &list)
}

// Journal asks what was destroyed, newest last.
func (c *Client) Journal(ctx context.Context, q reaper.JournalQuery) (page reaper.JournalPage, err error) {
	v := url.Values{}
	if q.Journal != "" {
		v.Set("journal", q.Journal)
		v.Set("after", strconv.FormatUint(q.After, 10))
	}
	if q.Wait > 0 {
		v.Set("wait", q.Wait.String())
	}
	return page, c.ask(ctx, http.MethodGet, "/v1/journal?"+v.Encode(), &page)
}

// SetMode sets the node's switch, and returns what may be done then and what says so.
func (c *Client) SetMode(ctx context.Context, m ModeRequest) (view reaper.ModeView, err error) {
	return view, c.send(ctx, http.MethodPut, "/v1/mode", m, &view)
}

// HandOver asks the reaper to end for another one.
func (c *Client) HandOver(ctx context.Context) error {
	return c.ask(ctx, http.MethodPost, "/v1/handover", nil)
}

// ask sends one request without a body and decodes the answer to it.
func (c *Client) ask(ctx context.Context, method, path string, into any) error {
	return c.send(ctx, method, path, nil, into)
}

// send sends one request and decodes the answer to it.
func (c *Client) send(ctx context.Context, method, path string, body, into any) error {
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
	resp, err := c.http.Do(req)
	if err != nil {
		return c.explain(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		var p problem
		if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&p); err != nil || p.Error == "" {
			p.Error = resp.Status
		}
		return fmt.Errorf("the reaper says: %s", p.Error)
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("read the reaper's answer: %w", err)
	}
	return nil
}

// explain says what to do about a reaper that cannot be reached.
func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%w: nothing listens on %s; start one with \"halfclose reaper\", or set HALFCLOSE_STATE_DIR to where one works", ErrNotRunning, c.socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s belongs to another user: run this as root", c.socket)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the reaper that listens on %s does not answer: see what its process does, and end it if it is stuck", c.socket)
	}
	return fmt.Errorf("ask the reaper: %w", err)
}
