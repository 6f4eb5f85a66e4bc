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

	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// policyFlag is a flag that stands for a key of the plugin's object.
type policyFlag struct {
	name, key, usage string
	words            []string // that complete it
	kind             flagKind
}

// flagKind is the JSON type of a flag's key.
type flagKind uint8

const (
	textFlag flagKind = iota
	numberFlag
	listFlag // its usage has an example in single quotes
)

func policyFlags() []policyFlag {
	graces := []string{"10m", "1h", "2h", "never"}
	return []policyFlag{
		{"mode", "mode", "what happens to a socket past its grace or without a peer: destroy, observe or off (default destroy)", []string{"destroy", "observe", "off"}, textFlag},
		{"probe-after", "probeAfter", "idle time after which the peer is asked whether it is still there, or never (default 90s)", []string{"30s", "90s", "10m", "never"}, textFlag},
		{"probe-count", "probeCount", "keepalive probes without an answer that end a socket (default 6)", []string{"3", "6", "9"}, numberFlag},
		{"probe-interval", "probeInterval", "time between two probes, in whole seconds (default 10s)", []string{"1s", "10s", "75s"}, textFlag},
		{"grace", "grace", "idle time after which a socket is destroyed, in both states: a duration such as 10m, or never (default 1h)", graces, textFlag},
		{"close-wait-grace", "closeWaitGrace", "the grace of CLOSE_WAIT alone (default --grace)", graces, textFlag},
		{"fin-wait2-grace", "finWait2Grace", "the grace of FIN_WAIT2 alone (default --grace)", graces, textFlag},
		{"pending-grace", "pendingGrace", "the grace of a socket with unread or unacknowledged bytes, if it is longer (default 2h)", graces, textFlag},
		{"clock", "clock", "what idle time counts from: progress or state (default progress)", []string{"progress", "state"}, textFlag},
		{"exempt", "exempt", `sockets that are never touched, as JSON: '[{"localPorts": "22"}, {"loopback": true}]'`, nil, listFlag},
		{"rules", "rules", `values for some sockets, as JSON: '[{"match": {"role": "client"}, "grace": "10m"}]'`, nil, listFlag},
	}
}

func addPolicyFlags(cmd *cobra.Command, list []policyFlag) {
	for _, f := range list {
		cmd.Flags().String(f.name, "", f.usage)
		completeOneOf(cmd, f.name, f.words...)
	}
}

// layerFrom returns what the flags say of the policy, read as the plugin reads its configuration.
func layerFrom(flags *pflag.FlagSet) (policy.Layer, error) {
	object, wrong := objectFrom(flags, policyFlags())
	layer, problems := policy.ParseLayer(object, state.SourceRegister)
	if wrong = append(wrong, inFlags(problems, policyFlags())...); len(wrong) > 0 {
		return policy.Layer{}, usageError{errors.New(strings.Join(wrong, "; "))}
	}
	return layer, nil
}

// objectFrom returns the plugin's object that the flags ask for, in the order in which they are listed, and what is wrong
// with the flags that it leaves out.
func objectFrom(flags *pflag.FlagSet, list []policyFlag) (object []byte, wrong []string) {
	var members []string
	for _, f := range list {
		if !flags.Changed(f.name) {
			continue
		}
		raw, err := f.json(flags.Lookup(f.name).Value.String())
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("--%s: %v", f.name, err))
			continue
		}
		members = append(members, fmt.Sprintf("%q: %s", f.key, raw))
	}
	return []byte("{" + strings.Join(members, ", ") + "}"), wrong
}

// json returns the JSON value that the flag's text stands for. What is no number is a string, so that the parser says what
// is wanted.
func (f policyFlag) json(text string) (json.RawMessage, error) {
	switch f.kind {
	case listFlag:
		if !json.Valid([]byte(text)) {
			return nil, errors.New("not JSON: " + f.usage[strings.Index(f.usage, "'"):] + " would be")
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

// flagOf returns the flag that set a value of the policy.
func flagOf(key string, flags *pflag.FlagSet) string {
	for _, f := range policyFlags() {
		if f.key == key && flags.Changed(f.name) {
			return f.name
		}
	}
	return "grace" // of both states
}

// inFlags says what is wrong with flags in place of the object that was made of them.
func inFlags(problems policy.Problems, list []policyFlag) []string {
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
