// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"net/http"
	"net/http/pprof"
	"strconv"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
)

// Handler returns the HTTP API. Each endpoint refuses unknown and repeated parameters, except /metrics and the health checks,
// to which some scrapers and probes add their own.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", s.metrics)
	mux.HandleFunc("GET /healthz", s.reply(s.health))
	mux.HandleFunc("GET /livez", s.reply(s.live))
	mux.HandleFunc("GET /v1/status", s.onlyParams(s.reply(s.status)))
	mux.HandleFunc("GET /v1/sockets", s.sockets)
	mux.HandleFunc("GET /v1/leaks", s.reply(s.leaks))
	mux.HandleFunc("GET /v1/history", s.history)
	mux.HandleFunc("GET /v1/policies", s.reply(s.policies))
	mux.HandleFunc("GET /v1/mode", s.onlyParams(s.reply(s.mode)))
	mux.HandleFunc("PUT /v1/mode", s.onlyParams(s.setMode))
	mux.HandleFunc("GET /v1/mode/dry-run", s.reply(s.dryRun))
	mux.HandleFunc("GET /v1/config", s.onlyParams(s.reply(s.config)))
	mux.HandleFunc("PUT /v1/log-level", s.onlyParams(s.setLogLevel))
	mux.HandleFunc("POST /v1/handover", s.onlyParams(s.handOver))
	mux.HandleFunc("GET /debug/pprof/", s.onlyParams(limitTime(maxProfile, pprof.Index), "debug", "gc", "seconds"))
	mux.HandleFunc("GET /debug/pprof/cmdline", s.onlyParams(pprof.Cmdline))
	mux.HandleFunc("GET /debug/pprof/profile", s.onlyParams(limitTime(maxProfile, pprof.Profile), "seconds"))
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", s.onlyParams(limitTime(maxProfile, pprof.Trace), "seconds"))
	return mux
}

// maxProfile bounds the time of a profile, whatever the request asks for.
const maxProfile = 5 * time.Minute

// limitTime returns a handler whose requests are canceled after limit.
func limitTime(limit time.Duration, handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), limit)
		defer cancel()
		handle(w, r.WithContext(ctx))
	}
}

func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	text, err := s.scrape(r.Context())
	if err != nil {
		s.fail(w, err)
		return
	}
	writeMetrics(w, text)
}

// writeMetrics answers a scraper.
func writeMetrics(w http.ResponseWriter, text []byte) {
	w.Header().Set("Content-Type", metricsType)
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	_, _ = w.Write(text) // an error means that the scraper has closed the connection
}

// health answers whether the reaper can do its work.
func (s *Server) health(r *http.Request) (any, error) { return healthOf(r, s.Reaper.Health) }

// live answers whether the reaper runs. A restart would not help one that runs and cannot do its work.
func (s *Server) live(r *http.Request) (any, error) { return healthOf(r, s.Reaper.Ready) }

func healthOf(r *http.Request, check func(context.Context) error) (any, error) {
	if err := withTimeout(r.Context(), check); err != nil {
		return nil, statusError{http.StatusServiceUnavailable, err.Error()}
	}
	return api.Health{Status: "ok"}, nil
}

func (s *Server) status(r *http.Request) (any, error) {
	stale := s.Reaper.Refresh(r.Context())
	st, err := s.Reaper.Status(r.Context())
	st.Finder.Stale = api.Seconds(stale)
	return api.Status{Version: buildinfo.Get(), Holder: s.Holder, ReaperStatus: st}, err
}

func (s *Server) leaks(r *http.Request) (any, error) {
	q, err := decodeLeakQuery(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	stale := s.Reaper.Refresh(r.Context())
	list, err := s.Reaper.Leaks(r.Context(), q)
	list.Stale = api.Seconds(stale)
	return list, err
}

func (s *Server) mode(r *http.Request) (any, error) { return s.Reaper.Mode(r.Context()) }

func (s *Server) handOver(w http.ResponseWriter, _ *http.Request) {
	if s.Holder.StartedBy != api.ByPlugin {
		s.fail(w, statusError{http.StatusConflict, "only a reaper that the CNI plugin started hands over; this is " + s.Holder.String()})
		return
	}
	s.logWrite(writeJSON(w, http.StatusAccepted, s.Holder))
	s.HandOver()
}
