// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"time"
)

// The handlers below answer like those of net/http/pprof, which every CNI call would pay for: it registers itself
// with a server that nobody runs, which takes 0.08 ms.

// profiles lists the profiles that there are.
func (s *Server) profiles(w http.ResponseWriter, _ *http.Request, _ url.Values) {
	fmt.Fprintln(w, "profile: where CPU time goes, for seconds=30\ntrace: what the scheduler does, for seconds=1")
	for _, p := range pprof.Profiles() {
		fmt.Fprintf(w, "%s: %d\n", p.Name(), p.Count())
	}
}

// profile answers with one of them: as a file for "go tool pprof", or as text where debug is not 0.
func (s *Server) profile(w http.ResponseWriter, r *http.Request, v url.Values) {
	name := r.PathValue("name")
	p := pprof.Lookup(name)
	if p == nil {
		s.fail(w, failure{http.StatusNotFound, fmt.Sprintf("there is no profile %q", name)})
		return
	}
	debug, err := number(v, "debug", 0)
	if err != nil {
		s.fail(w, err)
		return
	}
	gc, err := number(v, "gc", 0)
	if err != nil {
		s.fail(w, err)
		return
	}
	if gc > 0 {
		runtime.GC()
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if debug > 0 {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	s.written(p.WriteTo(w, debug))
}

// recording is a profile of a stretch of time.
type recording struct {
	start func(io.Writer) error
	stop  func()
	usual int // seconds
}

func cpuProfile() recording {
	return recording{pprof.StartCPUProfile, pprof.StopCPUProfile, 30}
}

func executionTrace() recording { return recording{trace.Start, trace.Stop, 1} }

// maxRecording is how many seconds a recording may take.
const maxRecording = 300

// timed answers with a recording of so many seconds from now on. There can be one at a time.
func (s *Server) timed(what func() recording) handler {
	return func(w http.ResponseWriter, r *http.Request, v url.Values) {
		rec := what()
		seconds, err := number(v, "seconds", rec.usual)
		switch {
		case err == nil && (seconds < 1 || seconds > maxRecording):
			err = badRequest(fmt.Sprintf("seconds is a number from 1 to %d, not %d", maxRecording, seconds))
		case err == nil && r.Method == http.MethodHead:
			return
		}
		if err != nil {
			s.fail(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		if err := rec.start(w); err != nil {
			s.fail(w, failure{http.StatusConflict, err.Error()})
			return
		}
		defer rec.stop()
		ctx, cancel := context.WithTimeout(r.Context(), time.Duration(seconds)*time.Second)
		defer cancel()
		<-ctx.Done()
	}
}

// number reads a parameter that is a number, usual where it is not given.
func number(v url.Values, name string, usual int) (int, error) {
	text := v.Get(name)
	if text == "" {
		return usual, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, badRequest(fmt.Sprintf("%s is a number from 0 on, not %q", name, text))
	}
	return n, nil
}
