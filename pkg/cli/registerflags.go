// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/halfclose/halfclose/pkg/policy"
)

// policyFlag is a flag that says what a key of the plugin's object says.
type policyFlag struct {
	name, key, usage string
	words            []string // that complete it
}

func policyFlags() []policyFlag {
	graces := []string{"1m", "5m", "10m", "1h", "never"}
	return []policyFlag{
		{"mode", "mode", "what becomes of a socket past its grace: destroy, observe or off (default destroy)", []string{"destroy", "observe", "off"}},
		{"grace", "grace", "how long without progress, in both states: a duration such as 10m, or never (default 10m)", graces},
		{"close-wait-grace", "closeWaitGrace", "the grace of CLOSE_WAIT alone (default --grace)", graces},
		{"fin-wait2-grace", "finWait2Grace", "the grace of FIN_WAIT2 alone (default --grace)", graces},
		{"clock", "clock", "what the grace counts from: progress or state (default progress)", []string{"progress", "state"}},
		{"pending-data", "pendingData", "whether unread or unacknowledged bytes spare a socket: keep or destroy (default keep)", []string{"keep", "destroy"}},
		{"exempt", "exempt", `sockets that are never touched, as JSON: '[{"localPorts": "22"}, {"loopback": true}]'`, nil},
	}
}

func addPolicyFlags(cmd *cobra.Command, list []policyFlag) {
	for _, f := range list {
		cmd.Flags().String(f.name, "", f.usage)
		completeOneOf(cmd, f.name, f.words...)
	}
}

// policyFrom makes the policy that the flags ask for, as the plugin makes one of its configuration, and says
// where each value came from.
func policyFrom(flags *pflag.FlagSet) (policy.Policy, policy.Sources, error) {
	conf, err := objectFrom(flags, policyFlags())
	if err != nil {
		return policy.Policy{}, nil, err
	}
	network, problems := policy.ParseNetwork(conf)
	if len(problems) > 0 {
		return policy.Policy{}, nil, usageError{errors.New(inFlags(problems, policyFlags()))}
	}
	for key, source := range network.Sources {
		if source == policy.SourceNetwork {
			network.Sources[key] = "--" + flagOf(key, flags)
		}
	}
	return network.Policy, network.Sources, nil
}

// objectFrom returns the plugin's object that the flags ask for, in the order in which they are listed.
func objectFrom(flags *pflag.FlagSet, list []policyFlag) ([]byte, error) {
	var members []string
	for _, f := range list {
		if !flags.Changed(f.name) {
			continue
		}
		text := flags.Lookup(f.name).Value.String()
		raw, err := json.Marshal(text)
		if f.key == "exempt" {
			if raw = json.RawMessage(text); !json.Valid(raw) {
				err = errors.New("not JSON: " + f.usage[strings.Index(f.usage, "'"):] + " would be")
			}
		}
		if err != nil {
			return nil, usageError{fmt.Errorf("--%s: %w", f.name, err)}
		}
		members = append(members, fmt.Sprintf("%q: %s", f.key, raw))
	}
	return []byte("{" + strings.Join(members, ", ") + "}"), nil
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
func inFlags(problems policy.Problems, list []policyFlag) string {
	lines := make([]string, 0, len(problems))
	for _, p := range problems {
		flag, rest := p.Path, ""
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
	return strings.Join(lines, "; ")
}
