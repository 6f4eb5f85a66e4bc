// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
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
	state := param{"state", "", func() string { return "" }, func(text string) error { return q.State.UnmarshalText([]byte(text)) }}
	if q.State != 0 {
		state.get = q.State.String
	}
	verdict := param{"verdict", "", func() string { return "" }, func(text string) error {
		q.Verdict = new(policy.Reason)
		return q.Verdict.UnmarshalText([]byte(text))
	}}
	if q.Verdict != nil {
		verdict.get = q.Verdict.String
	}
	return params{boolParam("all", &q.All), textParam("namespace", &q.Namespace), textParam("netns", &q.Netns), boolParam("owners", &q.Owners), textParam("pod", &q.Pod), state, verdict}
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
	return params{after, textParam("history", &q.History), wait}
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
		var names []string
		for _, param := range p {
			names = append(names, param.name)
		}
		return badRequest(fmt.Sprintf("unknown parameter %q: known are %s", unknown[0], strings.Join(names, ", ")))
	}
	return nil
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

// maxWait bounds the time that a request may wait for the next entry of the history.
const maxWait = 30 * time.Second

// decodeHistoryQuery reads the parameters of GET /v1/history.
func decodeHistoryQuery(rawQuery string) (q api.HistoryQuery, err error) {
	if err := historyParams(&q).decode(rawQuery); err != nil {
		return q, err
	}
	if q.Wait < 0 {
		return q, badRequest(fmt.Sprintf("wait: want a duration of at least 0, not %v", q.Wait))
	}
	q.Wait = min(q.Wait, maxWait)
	return q, nil
}
