// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// AppendJSON appends the socket to b as encoding/json writes it, in a fifth of the time: there may be tens of
// thousands in one answer.
func (v *SocketView) AppendJSON(b []byte) ([]byte, error) {
	j := jsonObject{b: append(b, '{')}
	j.name("pod")
	j.b = append(j.b, '{')
	j.unlessEmpty("namespace", v.Pod.Namespace)
	j.unlessEmpty("name", v.Pod.Name)
	j.unlessEmpty("uid", v.Pod.UID)
	j.b = append(j.b, '}')
	j.unlessEmpty("containerID", v.ContainerID)
	j.text("netns", v.Netns)
	j.text("local", v.Local)
	j.text("peer", v.Peer)
	j.text("state", v.State.String())
	j.seconds("ageSeconds", v.Age)
	j.seconds("idleSeconds", v.Idle)
	j.number("rqueueBytes", uint64(v.RQueue))
	j.number("wqueueBytes", uint64(v.WQueue))
	j.number("uid", uint64(v.UID))
	j.number("inode", uint64(v.Inode))
	j.number("cookie", v.Cookie)
	j.text("verdict", v.Verdict.String())
	j.text("mode", v.Mode.String())
	j.text("why", v.Why)
	j.seconds("deadlineSeconds", v.Deadline)
	if v.Questions != 0 {
		j.name("questions")
		j.b = strconv.AppendInt(j.b, int64(v.Questions), 10)
	}
	j.seconds("peerAskedSecondsAgo", v.PeerAsked)
	j.seconds("peerAliveSecondsAgo", v.PeerAlive)
	j.unlessEmpty("notAsked", v.NotAsked)
	if len(v.Owners) > 0 {
		j.other("owners", v.Owners)
	}
	return append(j.b, '}'), j.err
}

// jsonObject is an object that is being written.
type jsonObject struct {
	b   []byte
	err error
}

func (j *jsonObject) name(name string) {
	if j.b[len(j.b)-1] != '{' {
		j.b = append(j.b, ',')
	}
	j.b = append(append(append(j.b, '"'), name...), '"', ':')
}

func (j *jsonObject) number(name string, n uint64) {
	j.name(name)
	j.b = strconv.AppendUint(j.b, n, 10)
}

// seconds writes nothing for nil.
func (j *jsonObject) seconds(name string, s *Seconds) {
	if s != nil {
		j.name(name)
		j.b = s.append(j.b)
	}
}

func (j *jsonObject) unlessEmpty(name, s string) {
	if s != "" {
		j.text(name, s)
	}
}

func (j *jsonObject) text(name, s string) {
	if !plain(s) {
		j.other(name, s)
		return
	}
	j.name(name)
	j.b = append(append(append(j.b, '"'), s...), '"')
}

// other leaves it to encoding/json.
func (j *jsonObject) other(name string, v any) {
	j.name(name)
	text, err := json.Marshal(v)
	if err != nil && j.err == nil {
		j.err = err
	}
	j.b = append(j.b, text...)
}

// plain reports whether encoding/json writes a string as it is.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}
