// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
)

// lineWriter writes an answer of one JSON object a line, in pieces: a full node has more sockets than should be in
// memory at once.
type lineWriter struct {
	*json.Encoder
	buffer *bufio.Writer
	isSent bool // some of the answer, and with it the status
}

// linesType is the content type of NDJSON.
const linesType = "application/x-ndjson"

// lineBuffer is the size of the pieces.
const lineBuffer = 32 << 10

func newLineWriter(w http.ResponseWriter) *lineWriter {
	l := &lineWriter{}
	l.buffer = bufio.NewWriterSize(writerFunc(func(b []byte) (int, error) {
		if !l.isSent {
			l.isSent = true
			w.Header().Set("Content-Type", linesType)
		}
		return w.Write(b)
	}), lineBuffer)
	l.Encoder = json.NewEncoder(l.buffer)
	return l
}

// writerFunc is an io.Writer.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// end writes the last line.
func (l *lineWriter) end(v any) error {
	if err := l.Encode(v); err != nil {
		return err
	}
	return l.buffer.Flush()
}

// sockets answers while it lists.
func (s *Server) sockets(w http.ResponseWriter, r *http.Request) {
	q, err := decodeSocketQuery(r.URL.RawQuery)
	if err != nil {
		s.fail(w, err)
		return
	}
	var stale time.Duration
	if !q.All && q.Netns == "" { // otherwise the kernel is queried
		stale = s.Reaper.Refresh(r.Context())
	}
	out := newLineWriter(w)
	problems, err := s.Reaper.EachSocket(r.Context(), q, func(v *api.SocketView) error { return out.Encode(v) })
	switch {
	case err != nil && !out.isSent:
		s.fail(w, err)
		return
	case err != nil: // too late for another status
		problems = append(problems, "the list is not complete: "+err.Error())
	}
	s.logWrite(out.end(api.SocketsEnd{Complete: err == nil, Problems: problems, Stale: api.Seconds(stale)}))
}

func (s *Server) history(w http.ResponseWriter, r *http.Request) {
	q, err := decodeHistoryQuery(r.URL.RawQuery)
	if err != nil {
		s.fail(w, err)
		return
	}
	out := newLineWriter(w)
	end, err := s.Reaper.EachEntry(r.Context(), q, func(e *api.Entry) error { return out.Encode(e) })
	switch {
	case err == nil:
		s.logWrite(out.end(end))
	case !out.isSent:
		s.fail(w, err)
	default: // too late for another status: the client misses the last line
		s.logWrite(err)
	}
}

// readSockets reads an answer of GET /v1/sockets. It fails if the last line is missing.
func readSockets(d *json.Decoder) (api.SocketList, error) {
	list := api.SocketList{Sockets: []api.SocketView{}}
	for {
		var line struct {
			api.SocketView
			Complete *bool       `json:"complete"` // in the last line alone
			Problems []string    `json:"problems"`
			Stale    api.Seconds `json:"staleSeconds"`
		}
		if err := d.Decode(&line); err != nil {
			return api.SocketList{}, cutShort(err)
		}
		if line.Complete != nil {
			list.Problems, list.Stale = line.Problems, line.Stale
			return list, nil
		}
		list.Sockets = append(list.Sockets, line.SocketView)
	}
}

// readHistory reads an answer of GET /v1/history. It fails if the last line is missing.
func readHistory(d *json.Decoder, yield func(*api.Entry) error) (api.HistoryEnd, error) {
	for {
		var line struct {
			api.Entry
			api.HistoryEnd
		}
		if err := d.Decode(&line); err != nil {
			return api.HistoryEnd{}, cutShort(err)
		}
		if line.Complete {
			return line.HistoryEnd, nil
		}
		if err := yield(&line.Entry); err != nil {
			return api.HistoryEnd{}, err
		}
	}
}

// cutShort returns the error for an answer whose last line is missing.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
