// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package admin serves what a reaper knows over HTTP on its unix socket, and is the client of that.
package admin

import (
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
	"github.com/halfclose/halfclose/pkg/state"
)

// Status is the answer to GET /v1/status.
type Status struct {
	Version buildinfo.Info `json:"version"`
	Holder  reaper.Holder  `json:"process"`
	reaper.Status
}

// problem is the answer to a request that failed.
type problem struct {
	Error string `json:"error"`
}

// Server answers for one reaper.
type Server struct {
	Reaper *reaper.Reaper
	Holder reaper.Holder
	// HandOver makes the reaper stop cleanly for another one to take its place.
	HandOver func()
	Log      *slog.Logger
}

// Listen makes the reaper's socket, for its owner alone, in the place of what an earlier reaper may have
// left there. Only the holder of the state directory's lock may call it, and nothing else that makes files
// may run at the same time.
func Listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("remove the socket of an earlier reaper: %w", err)
	}
	old := unix.Umask(0o177)
	defer unix.Umask(old)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		return nil, fmt.Errorf("listen on the reaper's socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	return l, nil
}

// Serve answers requests on l until ctx ends, then closes l. The socket stays in the file system: by now its
// path may be another reaper's, so only who holds the lock may remove it.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn),
	}
	stop := context.AfterFunc(ctx, func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 200*time.Millisecond)
		defer cancel()
		if srv.Shutdown(late) != nil {
			_ = srv.Close()
		}
	})
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the reaper's socket: %w", err)
	}
	return nil
}

// Handler returns the HTTP API.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /v1/status", s.status)
	mux.HandleFunc("GET /v1/sockets", s.sockets)
	mux.HandleFunc("GET /v1/journal", s.journal)
	mux.HandleFunc("GET /v1/mode", s.mode)
	mux.HandleFunc("PUT /v1/mode", s.setMode)
	mux.HandleFunc("POST /v1/handover", s.handOver)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.answer(w, http.StatusNotFound, problem{"there is no " + r.Method + " " + strconv.Quote(r.URL.Path)})
	})
	return mux
}

func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	if err := s.Reaper.Ready(r.Context()); err != nil {
		s.answer(w, http.StatusServiceUnavailable, problem{err.Error()})
		return
	}
	s.answer(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	st, err := s.Reaper.Status(r.Context())
	s.reply(w, Status{Version: buildinfo.Get(), Holder: s.Holder, Status: st}, err)
}

func (s *Server) sockets(w http.ResponseWriter, r *http.Request) {
	q := reaper.SocketQuery{Netns: r.URL.Query().Get("netns"), Pod: r.URL.Query().Get("pod")}
	for name, to := range map[string]encoding.TextUnmarshaler{"state": &q.State, "verdict": &q.Verdict} {
		text := r.URL.Query().Get(name)
		if text == "" {
			continue
		}
		if err := to.UnmarshalText([]byte(text)); err != nil {
			s.answer(w, http.StatusBadRequest, problem{fmt.Sprintf("%s: %v", name, err)})
			return
		}
	}
	for name, to := range map[string]*bool{"all": &q.All, "owners": &q.Owners} {
		text := r.URL.Query().Get(name)
		if text == "" {
			continue
		}
		v, err := strconv.ParseBool(text)
		if err != nil {
			s.answer(w, http.StatusBadRequest, problem{fmt.Sprintf("%s is true or false, not %q", name, text)})
			return
		}
		*to = v
	}
	list, err := s.Reaper.Sockets(r.Context(), q)
	s.reply(w, list, err)
}

// maxWait is how long a request may wait for the next entry of the journal.
const maxWait = 30 * time.Second

func (s *Server) journal(w http.ResponseWriter, r *http.Request) {
	q := reaper.JournalQuery{Journal: r.URL.Query().Get("journal")}
	if text := r.URL.Query().Get("after"); text != "" {
		after, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			s.answer(w, http.StatusBadRequest, problem{fmt.Sprintf("after is the number of an entry, not %q", text)})
			return
		}
		q.After = after
	}
	if text := r.URL.Query().Get("wait"); text != "" {
		wait, err := time.ParseDuration(text)
		if err != nil || wait < 0 {
			s.answer(w, http.StatusBadRequest, problem{fmt.Sprintf("wait is a duration such as 10s, not %q", text)})
			return
		}
		q.Wait = min(wait, maxWait)
	}
	page, err := s.Reaper.Journal(r.Context(), q)
	s.reply(w, page, err)
}

// ModeRequest is the body of PUT /v1/mode.
type ModeRequest struct {
	Mode policy.Mode `json:"mode"`
	Who  string      `json:"who"` // who asks, for people to read
}

func (s *Server) mode(w http.ResponseWriter, r *http.Request) {
	view, err := s.Reaper.Mode(r.Context())
	s.reply(w, view, err)
}

// maxRequest bounds a request's body.
const maxRequest = 16 << 10

func (s *Server) setMode(w http.ResponseWriter, r *http.Request) {
	var m ModeRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, maxRequest)).Decode(&m); err != nil {
		s.answer(w, http.StatusBadRequest, problem{`want {"mode": "destroy" or "observe", "who": "..."}: ` + err.Error()})
		return
	}
	if m.Mode == 0 {
		s.answer(w, http.StatusBadRequest, problem{`want a mode: {"mode": "destroy" or "observe", "who": "..."}`})
		return
	}
	view, err := s.Reaper.SetMode(r.Context(), state.Switch{Mode: m.Mode, Who: m.Who, When: time.Now().UTC().Round(time.Second)})
	s.reply(w, view, err)
}

func (s *Server) handOver(w http.ResponseWriter, _ *http.Request) {
	if s.Holder.StartedBy != reaper.ByPlugin {
		s.answer(w, http.StatusConflict, problem{"only a reaper that the CNI plugin started hands over; this is " + s.Holder.String()})
		return
	}
	s.answer(w, http.StatusAccepted, s.Holder)
	s.HandOver()
}

// reply answers with v, or with err if there is one.
func (s *Server) reply(w http.ResponseWriter, v any, err error) {
	switch {
	case errors.Is(err, reaper.ErrStopped):
		s.answer(w, http.StatusServiceUnavailable, problem{err.Error()})
	case err != nil:
		s.answer(w, http.StatusInternalServerError, problem{err.Error()})
	default:
		s.answer(w, http.StatusOK, v)
	}
}

func (s *Server) answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.Log.Debug("answer a request", "error", err) // the client has gone
	}
}
