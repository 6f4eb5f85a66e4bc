// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
)

// Process is what a Server needs of the process that runs the reaper. Its functions may be called from any goroutine.
type Process struct {
	// Config returns the configuration in force.
	Config func() api.Config
	// SetLogLevel sets the level of the log for a time; 0 is until the process exits.
	SetLogLevel func(level slog.Level, lasts time.Duration, who string) api.LogLevelView
}

// errNoProcess is the error of a server without a Process.
var errNoProcess = statusError{http.StatusServiceUnavailable, "this reaper has no configuration to show"}

func (s *Server) config(*http.Request) (any, error) {
	if s.Process.Config == nil {
		return nil, errNoProcess
	}
	return s.Process.Config(), nil
}

// maxLogLevelTime bounds the time of a log level that is not the configured one.
const maxLogLevelTime = 365 * 24 * time.Hour

func (s *Server) setLogLevel(w http.ResponseWriter, r *http.Request) {
	view, err := s.changeLogLevel(w, r)
	if err != nil {
		s.fail(w, err)
		return
	}
	s.logWrite(writeJSON(w, http.StatusOK, view))
}

func (s *Server) changeLogLevel(w http.ResponseWriter, r *http.Request) (view api.LogLevelView, err error) {
	const want = `want {"level": "debug", "info", "warn" or "error", "forSeconds": 600, "who": "..."}`
	if s.Process.SetLogLevel == nil {
		return view, errNoProcess
	}
	var m api.LogLevelRequest
	if err := decodeBody(http.MaxBytesReader(w, r.Body, maxBody), &m, want); err != nil {
		return view, err
	}
	level, ok := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}[m.Level]
	if lasts := time.Duration(m.For); !ok || lasts < 0 || lasts > maxLogLevelTime {
		return view, badRequest(fmt.Sprintf("%s: not level %.40q for %v", want, m.Level, lasts))
	}
	return s.Process.SetLogLevel(level, time.Duration(m.For), printableName(m.Who)), nil
}

// Config returns the configuration of the reaper.
func (c *Client) Config(ctx context.Context) (cfg api.Config, err error) {
	return cfg, c.ask(ctx, http.MethodGet, "/v1/config", nil, answerTimeout, whole(&cfg))
}

// SetLogLevel sets the level of the reaper's log.
func (c *Client) SetLogLevel(ctx context.Context, m api.LogLevelRequest) (view api.LogLevelView, err error) {
	return view, c.ask(ctx, http.MethodPut, "/v1/log-level", m, answerTimeout, whole(&view))
}

// maxMetrics bounds the size of the metrics that a client reads, in bytes.
const maxMetrics = 64 << 20

// Metrics returns the reaper's metrics in Prometheus' text format.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://reaper/metrics", http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask the reaper: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, refusal(resp)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxMetrics))
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	return text, nil
}
