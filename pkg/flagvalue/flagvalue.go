// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package flagvalue parses the values of flags. The commands on a node and those over all nodes of a cluster share it.
package flagvalue

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// State is the value of --state: a TCP state.
type State struct{ To *inetdiag.State }

// Type implements pflag.Value.
func (State) Type() string { return "state" }

func (v State) String() string {
	if v.To == nil || *v.To == 0 {
		return ""
	}
	return v.To.String()
}

// Set parses the name of a state.
func (v State) Set(text string) error {
	s, err := inetdiag.ParseState(text, inetdiag.AllStates)
	if err != nil {
		return fmt.Errorf("want %v, %v, or with --all any TCP state", inetdiag.CloseWait, inetdiag.FinWait2)
	}
	*v.To = s
	return nil
}

// Verdict is the value of --verdict: nil until it is set.
type Verdict struct{ To **policy.Reason }

// Type implements pflag.Value.
func (Verdict) Type() string { return "verdict" }

func (v Verdict) String() string {
	if v.To == nil || *v.To == nil {
		return ""
	}
	return (*v.To).String()
}

// Set parses the name of a verdict.
func (v Verdict) Set(text string) error {
	var r policy.Reason
	if err := r.UnmarshalText([]byte(strings.ToLower(text))); err != nil {
		return fmt.Errorf("want one of %s", strings.Join(Verdicts(), ", "))
	}
	*v.To = &r
	return nil
}

// Verdicts returns the values of --verdict.
func Verdicts() []string {
	var names []string
	for _, r := range policy.Reasons() {
		names = append(names, r.String())
	}
	return names
}

// Peer is the value of --peer: an address, a range, or an address with a port.
type Peer struct{ To *api.PeerMatch }

// Type implements pflag.Value.
func (Peer) Type() string { return "peer" }

func (v Peer) String() string {
	if v.To == nil {
		return ""
	}
	return v.To.String()
}

// Set parses the address.
func (v Peer) Set(text string) (err error) {
	*v.To, err = api.ParsePeer(text)
	return err
}

// Port is the value of --port.
type Port struct{ To *uint16 }

// Type implements pflag.Value.
func (Port) Type() string { return "port" }

func (v Port) String() string {
	if v.To == nil || *v.To == 0 {
		return ""
	}
	return strconv.Itoa(int(*v.To))
}

// Set parses a port.
func (v Port) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return errors.New("want a port from 1 to 65535")
	}
	*v.To = uint16(n)
	return nil
}

// Owner is the value of --owner: a pid or a command.
type Owner struct{ To *string }

// Type implements pflag.Value.
func (Owner) Type() string { return "owner" }

func (v Owner) String() string {
	if v.To == nil {
		return ""
	}
	return *v.To
}

// Set checks a pid or a command.
func (v Owner) Set(text string) (err error) {
	*v.To, err = api.ParseOwner(text)
	return err
}

// Duration is the value of --for and --older-than: a duration, which may be in days.
type Duration time.Duration

// maxDuration bounds --for: a longer switch needs no end.
const maxDuration = 365 * 24 * time.Hour

// Type implements pflag.Value.
func (*Duration) Type() string { return "duration" }

func (d *Duration) String() string {
	if d == nil || *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}

// Set parses a duration. Days come before the other units, as in 1d12h.
func (d *Duration) Set(text string) error {
	wrong := errors.New("want a time from 1s to 365d, such as 30m, 2h or 1d12h")
	rest, days := text, 0
	if before, after, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseUint(before, 10, 16)
		if err != nil {
			return wrong
		}
		rest, days = after, int(n)
	}
	var sum time.Duration
	if rest != "" || days == 0 {
		var err error
		if sum, err = time.ParseDuration(rest); err != nil || sum < 0 || sum > maxDuration {
			return wrong
		}
	}
	sum += time.Duration(days) * 24 * time.Hour
	if sum < time.Second || sum > maxDuration {
		return wrong
	}
	*d = Duration(sum)
	return nil
}

// SwitchModes returns the modes that a switch can have.
func SwitchModes() []string { return []string{policy.Destroy.String(), policy.Observe.String()} }

// CheckSwitchMode returns an error unless the arguments of the command mode are none, or one of [SwitchModes].
func CheckSwitchMode(args []string) error {
	switch {
	case len(args) == 1 && args[0] == policy.Off.String():
		return errors.New(`the switch can be destroy or observe, not "off"; ` + api.WhereOff)
	case len(args) > 1 || len(args) == 1 && !slices.Contains(SwitchModes(), args[0]):
		return fmt.Errorf("want destroy or observe, not %q", strings.Join(args, " "))
	}
	return nil
}
