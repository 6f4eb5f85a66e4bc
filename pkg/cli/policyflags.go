// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// policyFlag is a flag for a key of the plugin's entry.
type policyFlag struct {
	name, key, usage string
	words            []string // for completion
	kind             flagKind
}

// flagKind is the JSON type of a flag's key.
type flagKind uint8

const (
	textFlag flagKind = iota
	numberFlag
	listFlag // its usage contains an example in single quotes
)

func policyFlags() []policyFlag {
	graces := []string{"10m", "1h", "2h", "never"}
	return []policyFlag{
		{"mode", "mode", "action on a socket past its grace or without a peer: destroy, observe or off (default destroy)", []string{"destroy", "observe", "off"}, textFlag},
		{"probe-after", "probeAfter", "idle time after which the peer is probed, or never (default 90s)", []string{"30s", "90s", "10m", "never"}, textFlag},
		{"probe-count", "probeCount", "number of keepalive probes without an answer after which a socket is destroyed (default 6)", []string{"3", "6", "9"}, numberFlag},
		{"probe-interval", "probeInterval", "time between two keepalive probes, in whole seconds (default 10s)", []string{"1s", "10s", "75s"}, textFlag},
		{"grace", "grace", "idle time after which a socket is destroyed, in both states: a duration such as 10m, or never (default 1h)", graces, textFlag},
		{"close-wait-grace", "closeWaitGrace", "grace of CLOSE_WAIT (default --grace)", graces, textFlag},
		{"fin-wait2-grace", "finWait2Grace", "grace of FIN_WAIT2 (default --grace)", graces, textFlag},
		{"pending-grace", "pendingGrace", "grace of a socket with unread or unacknowledged bytes, if longer (default 2h)", graces, textFlag},
		{"clock", "clock", "start of the idle time: progress or state (default progress)", []string{"progress", "state"}, textFlag},
		{"exempt", "exempt", `sockets to leave alone, as JSON: '[{"localPorts": "22"}, {"loopback": true}]'`, nil, listFlag},
		{"rules", "rules", `values for some sockets, as JSON: '[{"match": {"role": "client"}, "grace": "10m"}]'`, nil, listFlag},
	}
}

func addPolicyFlags(cmd *cobra.Command, list []policyFlag) {
	for _, f := range list {
		cmd.Flags().String(f.name, "", f.usage)
		completeOneOf(cmd, f.name, f.words...)
	}
}

// layerFrom returns the policy of the flags, parsed as the plugin parses its entry.
func layerFrom(flags *pflag.FlagSet) (policy.Layer, error) {
	object, problems := objectFrom(flags, policyFlags())
	layer, invalid := policy.ParseLayer(object, state.SourceRegister)
	if problems = append(problems, flagProblems(invalid, policyFlags())...); len(problems) > 0 {
		return policy.Layer{}, cmdline.AsUsage(errors.New(strings.Join(problems, "; ")))
	}
	return layer, nil
}

// objectFrom returns the plugin's entry of the flags, in the order of list, and the problems of flags that it leaves out.
func objectFrom(flags *pflag.FlagSet, list []policyFlag) (object []byte, problems []string) {
	var members []string
	for _, f := range list {
		if !flags.Changed(f.name) {
			continue
		}
		raw, err := f.json(flags.Lookup(f.name).Value.String())
		if err != nil {
			problems = append(problems, fmt.Sprintf("--%s: %v", f.name, err))
			continue
		}
		members = append(members, fmt.Sprintf("%q: %s", f.key, raw))
	}
	return []byte("{" + strings.Join(members, ", ") + "}"), problems
}

// json returns the JSON value of the flag's text. An invalid number becomes a string, so that the parser of the policy
// reports it.
func (f policyFlag) json(text string) (json.RawMessage, error) {
	switch f.kind {
	case listFlag:
		if !json.Valid([]byte(text)) {
			return nil, errors.New("not JSON: " + f.usage[strings.Index(f.usage, "'"):] + " is an example")
		}
		return json.RawMessage(text), nil
	case numberFlag:
		if n, err := strconv.Atoi(text); err == nil {
			return json.RawMessage(strconv.Itoa(n)), nil
		}
	case textFlag:
	}
	return json.Marshal(text)
}

// flagOf returns the flag that set a key of the policy.
func flagOf(key string, flags *pflag.FlagSet) string {
	for _, f := range policyFlags() {
		if f.key == key && flags.Changed(f.name) {
			return f.name
		}
	}
	return "grace" // sets both states
}

// flagProblems formats problems of the entry with the flags that it was built from.
func flagProblems(problems policy.Problems, list []policyFlag) []string {
	lines := make([]string, 0, len(problems))
	for _, p := range problems {
		flag, rest := p.Path, ""
		if flag == "$" {
			flag = "policy flags"
		}
		for _, f := range list {
			if below, ok := strings.CutPrefix(p.Path, "$."+f.key); ok && (below == "" || strings.ContainsAny(below[:1], ".[")) {
				flag, rest = "--"+f.name, below
			}
		}
		if rest != "" {
			rest = ", at $" + rest
		}
		lines = append(lines, flag+rest+": "+p.Message)
	}
	return lines
}
