// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"encoding"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
)

// socketQuery reads the parameters of GET /v1/sockets.
func socketQuery(v url.Values) (api.SocketQuery, error) {
	q := api.SocketQuery{Netns: v.Get("netns"), Pod: v.Get("pod")}
	var verdict policy.Reason
	for _, p := range []struct {
		name string
		to   encoding.TextUnmarshaler
	}{{"state", &q.State}, {"verdict", &verdict}} {
		if text := v.Get(p.name); text != "" {
			if err := p.to.UnmarshalText([]byte(text)); err != nil {
				return q, badRequest(fmt.Sprintf("%s: %v", p.name, err))
			}
		}
	}
	if v.Get("verdict") != "" {
		q.Verdict = &verdict
	}
	for _, p := range []struct {
		name string
		to   *bool
	}{{"all", &q.All}, {"owners", &q.Owners}} {
		if text := v.Get(p.name); text != "" {
			is, err := strconv.ParseBool(text)
			if err != nil {
				return q, badRequest(fmt.Sprintf("%s is true or false, not %q", p.name, text))
			}
			*p.to = is
		}
	}
	if q.State != 0 && !q.State.HalfClosed() && !q.All && q.Netns == "" {
		return q, badRequest(fmt.Sprintf("only half-closed sockets are known without a look at all=true or at one netns, and none in %v is", q.State))
	}
	return q, nil
}

// sockets answers while it looks: of a full node there are more sockets than should be in memory at once.
func (s *Server) sockets(w http.ResponseWriter, r *http.Request, v url.Values) {
	q, err := socketQuery(v)
	if err != nil {
		s.fail(w, err)
		return
	}
	out := socketWriter{w: w}
	problems, err := s.Reaper.EachSocket(r.Context(), q, out.add)
	switch {
	case err != nil && !out.sent:
		s.fail(w, err)
		return
	case err != nil: // too late for another status
		problems = append(problems, "the list is not complete: "+err.Error())
	}
	s.written(out.end(problems))
}

// socketWriter writes a SocketList.
type socketWriter struct {
	w    http.ResponseWriter
	b    []byte
	some bool // sockets have been written
	sent bool // to the client
}

// sendSize is how much is sent at once.
const sendSize = 32 << 10

func (o *socketWriter) add(v *api.SocketView) (err error) {
	o.separate()
	if o.b, err = v.AppendJSON(o.b); err == nil && len(o.b) >= sendSize {
		err = o.send()
	}
	return err
}

// separate writes what goes before the next socket.
func (o *socketWriter) separate() {
	if o.some {
		o.b = append(o.b, ',')
		return
	}
	o.b, o.some = append(o.b, `{"sockets":[`...), true
}

// end writes what comes after the last socket.
func (o *socketWriter) end(problems []string) error {
	if !o.some {
		o.b = append(o.b, `{"sockets":[`...)
	}
	text, err := json.Marshal(problems)
	if err != nil {
		return err
	}
	o.b = append(append(append(o.b, `],"problems":`...), text...), "}\n"...)
	return o.send()
}

func (o *socketWriter) send() error {
	if !o.sent {
		o.w.Header().Set("Content-Type", "application/json")
		o.sent = true
	}
	_, err := o.w.Write(o.b)
	o.b = o.b[:0]
	return err
}

// maxWait is how long a request may wait for the next entry of the history.
const maxWait = 30 * time.Second

// historyQuery reads the parameters of GET /v1/history.
func historyQuery(v url.Values) (api.HistoryQuery, error) {
	q := api.HistoryQuery{History: v.Get("history")}
	if text := v.Get("after"); text != "" {
		after, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return q, badRequest(fmt.Sprintf("after is the number of an entry, not %q", text))
		}
		q.After = after
	}
	if text := v.Get("wait"); text != "" {
		wait, err := time.ParseDuration(text)
		if err != nil || wait < 0 {
			return q, badRequest(fmt.Sprintf("wait is a duration such as 10s, not %q", text))
		}
		q.Wait = min(wait, maxWait)
	}
	return q, nil
}
