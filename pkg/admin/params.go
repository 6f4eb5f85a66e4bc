// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// param is a parameter of a request, bound to the field of a query. Client and server both use it: the one to encode the
// query, the other to decode it.
type param struct {
	name string
	want string             // the valid values, for an error; empty if the error of set has them
	get  func() string      // empty if the field has its zero value
	set  func(string) error // never with an empty text
}

// params are the parameters of a request, by name in ascending order.
type params []param

// socketParams binds the parameters of GET /v1/sockets.
func socketParams(q *api.SocketQuery) params {
	return sorted(filterParams(&q.SocketFilter), params{
		boolParam("all", &q.All), textParam("namespace", &q.Namespace), textParam("netns", &q.Netns), boolParam("owners", &q.Owners),
		textParam("pod", &q.Pod), stateParam(&q.State), verdictParam(&q.Verdict),
	})
}

func stateParam(field *inetdiag.State) param {
	get := func() string {
		if *field == 0 {
			return ""
		}
		return field.String()
	}
	return param{"state", "", get, func(text string) error { return field.UnmarshalText([]byte(text)) }}
}

func verdictParam(field **policy.Reason) param {
	get := func() string {
		if *field == nil {
			return ""
		}
		return (*field).String()
	}
	return param{"verdict", "", get, func(text string) error {
		*field = new(policy.Reason)
		return (*field).UnmarshalText([]byte(text))
	}}
}

// filterParams binds the parameters of a SocketFilter.
func filterParams(f *api.SocketFilter) params {
	older := param{"older-than", "a duration such as 10m", func() string { return "" }, func(text string) (err error) {
		f.OlderThan, err = time.ParseDuration(text)
		if f.OlderThan < 0 {
			err = errors.New("negative")
		}
		return err
	}}
	if f.OlderThan > 0 {
		older.get = f.OlderThan.String
	}
	return params{
		{"address", "", f.Address.String, func(text string) (err error) { f.Address, err = api.ParsePeer(text); return err }},
		portParam("local-port", &f.LocalPort), older,
		{"owner", "", func() string { return f.Owner }, func(text string) (err error) { f.Owner, err = api.ParseOwner(text); return err }},
		{"peer", "", f.Peer.String, func(text string) (err error) { f.Peer, err = api.ParsePeer(text); return err }},
		portParam("peer-port", &f.PeerPort), portParam("port", &f.Port),
	}
}

func portParam(name string, field *uint16) param {
	get := func() string {
		if *field == 0 {
			return ""
		}
		return strconv.Itoa(int(*field))
	}
	return param{name, "a port from 1 to 65535", get, func(text string) error {
		n, err := strconv.ParseUint(text, 10, 16)
		if err == nil && n == 0 {
			err = errors.New("0")
		}
		*field = uint16(n)
		return err
	}}
}

func countParam(name string, field *int) param {
	get := func() string {
		if *field == 0 {
			return ""
		}
		return strconv.Itoa(*field)
	}
	return param{name, "a number from 0 to 1000000000", get, func(text string) error {
		n, err := strconv.ParseUint(text, 10, 31)
		if err == nil && n > 1e9 {
			err = errors.New("too large")
		}
		*field = int(n)
		return err
	}}
}

// leakParams binds the parameters of GET /v1/leaks.
func leakParams(q *api.LeakQuery) params {
	return sorted(filterParams(&q.SocketFilter), params{
		boolParam("all", &q.All), countParam("limit", &q.Limit), countParam("min", &q.Min), textParam("namespace", &q.Namespace),
		textParam("pod", &q.Pod), stateParam(&q.State), verdictParam(&q.Verdict),
	})
}

// sorted returns the parameters of both lists by name.
func sorted(a, b params) params {
	return slices.SortedFunc(slices.Values(slices.Concat(a, b)), func(p, q param) int { return strings.Compare(p.name, q.name) })
}

// historyParams binds the parameters of GET /v1/history.
func historyParams(q *api.HistoryQuery) params {
	after := param{"after", "the number of an entry", func() string { return "" }, func(text string) (err error) {
		q.After, err = strconv.ParseUint(text, 10, 64)
		return err
	}}
	if q.After > 0 {
		after.get = func() string { return strconv.FormatUint(q.After, 10) }
	}
	wait := param{"wait", "a duration such as 10s", func() string { return "" }, func(text string) (err error) {
		q.Wait, err = time.ParseDuration(text)
		return err
	}}
	if q.Wait > 0 {
		wait.get = q.Wait.String
	}
	ends := param{"address", "", q.Ends.String, func(text string) (err error) {
		q.Ends, err = api.ParseEnds(text)
		return err
	}}
	outcome := param{"outcome", "one of " + strings.Join(api.Outcomes(), ", "), func() string { return q.Outcome }, func(text string) error {
		if q.Outcome = text; !slices.Contains(api.Outcomes(), text) {
			return errors.New("unknown")
		}
		return nil
	}}
	tail := param{"tail", fmt.Sprintf("a number from 1 to %d", api.MaxTail), func() string { return "" }, func(text string) (err error) {
		if q.Tail, err = strconv.Atoi(text); err == nil && (q.Tail < 1 || q.Tail > api.MaxTail) {
			err = errors.New("out of range")
		}
		return err
	}}
	if q.Tail > 0 {
		tail.get = func() string { return strconv.Itoa(q.Tail) }
	}
	return params{
		ends, after, textParam("history", &q.History), textParam("namespace", &q.Namespace), outcome, textParam("pod", &q.Pod),
		timeParam("since", &q.Since), tail, timeParam("until", &q.Until), wait,
	}
}

func timeParam(name string, field *time.Time) param {
	get := func() string {
		if field.IsZero() {
			return ""
		}
		return field.UTC().Format(time.RFC3339Nano)
	}
	return param{name, "a time such as 2026-11-29T09:30:00Z", get, func(text string) (err error) {
		*field, err = time.Parse(time.RFC3339Nano, text)
		return err
	}}
}

func textParam(name string, field *string) param {
	return param{name, "", func() string { return *field }, func(text string) error { *field = text; return nil }}
}

func boolParam(name string, field *bool) param {
	get := func() string {
		if *field {
			return "true"
		}
		return ""
	}
	return param{name, "true or false", get, func(text string) (err error) { *field, err = strconv.ParseBool(text); return err }}
}

// encode returns path with the parameters whose fields are set.
func (p params) encode(path string) string {
	v := url.Values{}
	for _, param := range p {
		if text := param.get(); text != "" {
			v.Set(param.name, text)
		}
	}
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}

// decode sets the fields. It refuses unknown parameters: a misspelt filter would select everything.
func (p params) decode(rawQuery string) error {
	v, err := url.ParseQuery(rawQuery)
	if err != nil {
		return badRequest(err.Error())
	}
	for _, param := range p {
		values := v[param.name]
		delete(v, param.name)
		if len(values) > 1 {
			return badRequest(fmt.Sprintf("parameter %q is given %d times", param.name, len(values)))
		}
		if len(values) == 0 || values[0] == "" {
			continue
		}
		switch err := param.set(values[0]); {
		case err != nil && param.want != "":
			return badRequest(fmt.Sprintf("%s: want %s, not %q", param.name, param.want, values[0]))
		case err != nil:
			return badRequest(fmt.Sprintf("%s: %v", param.name, err))
		}
	}
	if unknown := slices.Sorted(maps.Keys(v)); len(unknown) > 0 {
		if len(p) == 0 {
			return badRequest(fmt.Sprintf("unknown parameter %q: this endpoint has none", unknown[0]))
		}
		var names []string
		for _, param := range p {
			names = append(names, param.name)
		}
		return badRequest(fmt.Sprintf("unknown parameter %q: known are %s", unknown[0], strings.Join(names, ", ")))
	}
	return nil
}

// onlyParams returns a handler that refuses parameters other than these, and repeated ones.
func (s *Server) onlyParams(handle http.HandlerFunc, names ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var known params
		for _, name := range names {
			known = append(known, textParam(name, new(string)))
		}
		if err := known.decode(r.URL.RawQuery); err != nil {
			s.fail(w, err)
			return
		}
		handle(w, r)
	}
}

// decodeSocketQuery reads the parameters of GET /v1/sockets.
func decodeSocketQuery(rawQuery string) (q api.SocketQuery, err error) {
	if err := socketParams(&q).decode(rawQuery); err != nil {
		return q, err
	}
	if q.State != 0 && !q.State.HalfClosed() && !q.All && q.Netns == "" {
		return q, badRequest(fmt.Sprintf("state: %v is not half-closed; the reaper lists other sockets only with all=true or netns", q.State))
	}
	return q, nil
}

// decodeLeakQuery reads the parameters of GET /v1/leaks.
func decodeLeakQuery(rawQuery string) (q api.LeakQuery, err error) {
	if err := leakParams(&q).decode(rawQuery); err != nil {
		return q, err
	}
	if q.State != 0 && !q.State.HalfClosed() {
		return q, badRequest(fmt.Sprintf("state: %v is not half-closed", q.State))
	}
	return q, nil
}

// maxWait bounds the time that a request may wait for the next entry of the history.
const maxWait = 30 * time.Second

// decodeHistoryQuery reads the parameters of GET /v1/history.
func decodeHistoryQuery(rawQuery string) (q api.HistoryQuery, err error) {
	if err := historyParams(&q).decode(rawQuery); err != nil {
		return q, err
	}
	if !q.Since.IsZero() && !q.Until.IsZero() && q.Until.Before(q.Since) {
		return q, badRequest("until: it is before since")
	}
	if q.Wait < 0 {
		return q, badRequest(fmt.Sprintf("wait: want a duration of at least 0, not %v", q.Wait))
	}
	q.Wait = min(q.Wait, maxWait)
	return q, nil
}
