// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
)

// route is what one method does at one path.
type route struct {
	method, path string
	params       []string // that a request may have
	serve        handler
}

// handler answers a request, whose parameters are among those of its route.
type handler func(w http.ResponseWriter, r *http.Request, v url.Values)

func (s *Server) routes() []route {
	return []route{
		{http.MethodGet, "/metrics", anyParams(), s.metrics},
		{http.MethodGet, "/healthz", anyParams(), s.reply(s.health)},
		{http.MethodGet, "/livez", anyParams(), s.reply(s.live)},
		{http.MethodGet, "/v1/status", nil, s.reply(s.status)},
		{http.MethodGet, "/v1/sockets", []string{"all", "netns", "owners", "pod", "state", "verdict"}, s.sockets},
		{http.MethodGet, "/v1/history", []string{"after", "history", "wait"}, s.history},
		{http.MethodGet, "/v1/mode", nil, s.reply(s.mode)},
		{http.MethodPut, "/v1/mode", nil, s.setMode},
		{http.MethodPost, "/v1/handover", nil, s.handOver},
		{http.MethodGet, "/debug/pprof/{$}", nil, s.profiles},
		{http.MethodGet, "/debug/pprof/{name}", []string{"debug", "gc"}, s.profile},
		{http.MethodGet, "/debug/pprof/profile", []string{"seconds"}, s.timed(cpuProfile)},
		{http.MethodGet, "/debug/pprof/trace", []string{"seconds"}, s.timed(executionTrace)},
	}
}

// anyParams is for paths that others than people ask for, who may add parameters of their own.
func anyParams() []string { return []string{"*"} }

// Handler returns the HTTP API.
func (s *Server) Handler() http.Handler {
	paths := make(map[string]map[string]route) // with what there is at each, by method
	for _, rt := range s.routes() {
		if paths[rt.path] == nil {
			paths[rt.path] = make(map[string]route)
		}
		paths[rt.path][rt.method] = rt
		if rt.method == http.MethodGet {
			paths[rt.path][http.MethodHead] = rt
		}
	}
	mux := http.NewServeMux()
	for path, methods := range paths {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			rt, ok := methods[r.Method]
			if !ok {
				s.fail(w, notAllowed(w, r, slices.Sorted(maps.Keys(methods))))
				return
			}
			v, err := rt.check(r)
			if err != nil {
				s.fail(w, err)
				return
			}
			rt.serve(w, r, v)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, failure{http.StatusNotFound, "there is no " + strconv.Quote(r.URL.Path)})
	})
	return mux
}

// notAllowed says which methods there are at a path.
func notAllowed(w http.ResponseWriter, r *http.Request, methods []string) error {
	list := strings.Join(methods, ", ")
	w.Header().Set("Allow", list)
	return failure{http.StatusMethodNotAllowed, fmt.Sprintf("there is no %s of %s, only %s", r.Method, r.URL.Path, list)}
}

// check returns the request's parameters. A misspelt filter would else filter nothing.
func (rt route) check(r *http.Request) (url.Values, error) {
	v, err := url.ParseQuery(r.URL.RawQuery)
	if slices.Equal(rt.params, anyParams()) {
		return v, nil
	}
	if err != nil {
		return nil, failure{http.StatusBadRequest, err.Error()}
	}
	for _, name := range slices.Sorted(maps.Keys(v)) {
		switch given := v[name]; {
		case !slices.Contains(rt.params, name) && len(rt.params) == 0:
			err = fmt.Errorf("%s has no parameters, and so no %q", r.URL.Path, name)
		case !slices.Contains(rt.params, name):
			err = fmt.Errorf("%s has no parameter %q, only %s", r.URL.Path, name, strings.Join(rt.params, ", "))
		case len(given) > 1:
			err = fmt.Errorf("parameter %q is given %d times", name, len(given))
		}
		if err != nil {
			return nil, failure{http.StatusBadRequest, err.Error()}
		}
	}
	return v, nil
}

func (s *Server) metrics(w http.ResponseWriter, r *http.Request, _ url.Values) {
	text, err := s.exposition(r.Context())
	if err != nil {
		s.fail(w, err)
		return
	}
	expose(w, text)
}

// expose answers a scraper.
func expose(w http.ResponseWriter, text []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	_, _ = w.Write(text) // the scraper may have gone
}

// health answers whether the reaper can do its work, live whether it runs: where it cannot, to start it again helps
// nothing.
func (s *Server) health(r *http.Request, _ url.Values) (any, error) {
	return healthOf(r, s.Reaper.Health)
}

func (s *Server) live(r *http.Request, _ url.Values) (any, error) {
	return healthOf(r, s.Reaper.Ready)
}

func healthOf(r *http.Request, method func(context.Context) error) (any, error) {
	if err := answers(r.Context(), method); err != nil {
		return nil, failure{http.StatusServiceUnavailable, err.Error()}
	}
	return api.Health{Status: "ok"}, nil
}

func (s *Server) status(r *http.Request, _ url.Values) (any, error) {
	st, err := s.Reaper.Status(r.Context())
	return api.Status{Version: buildinfo.Get(), Holder: s.Holder, ReaperStatus: st}, err
}

func (s *Server) mode(r *http.Request, _ url.Values) (any, error) { return s.Reaper.Mode(r.Context()) }

func (s *Server) handOver(w http.ResponseWriter, _ *http.Request, _ url.Values) {
	if s.Holder.StartedBy != api.ByPlugin {
		s.fail(w, failure{http.StatusConflict, "only a reaper that the CNI plugin started hands over; this is " + s.Holder.String()})
		return
	}
	s.answer(w, http.StatusAccepted, s.Holder)
	s.HandOver()
}
