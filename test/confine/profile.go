// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	seccompbpf "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/deploy/seccomp"
)

// profile is the part of the runtime specification's type LinuxSeccomp that the profiles use.
type profile struct {
	DefaultAction   string `json:"defaultAction"`
	DefaultErrnoRet uint   `json:"defaultErrnoRet"`
	Syscalls        []rule `json:"syscalls"`
}

// rule allows system calls. Rules for the same call are alternatives; all conditions of one rule must hold.
type rule struct {
	Names  []string    `json:"names"`
	Action string      `json:"action"`
	Args   []condition `json:"args,omitempty"`
}

type condition struct {
	Index    uint32 `json:"index"`
	Value    uint64 `json:"value"`
	ValueTwo uint64 `json:"valueTwo,omitempty"`
	Op       string `json:"op"`
}

// parse reads a profile, and refuses what load would not enforce.
func parse(name string) (p profile, err error) {
	data, err := seccomp.File(name)
	if err != nil {
		return p, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return p, fmt.Errorf("parse the profile %s: %w", name, err)
	}
	if p.DefaultAction != "SCMP_ACT_ERRNO" || p.DefaultErrnoRet != uint(unix.EPERM) {
		return p, fmt.Errorf("the profile %s does not refuse other calls with EPERM", name)
	}
	for _, r := range p.Syscalls {
		if r.Action != "SCMP_ACT_ALLOW" {
			return p, fmt.Errorf("the profile %s has the action %s", name, r.Action)
		}
	}
	return p, nil
}

// load compiles a profile for this machine. Calls that it does not allow have the action refused.
func load(name string, refused seccompbpf.Action) (policy seccompbpf.Policy, err error) {
	p, err := parse(name)
	if err != nil {
		return policy, err
	}
	machine, err := arch.GetInfo("")
	if err != nil {
		return policy, err
	}
	allow := seccompbpf.SyscallGroup{Action: seccompbpf.ActionAllow}
	for _, r := range p.Syscalls {
		conditions, err := compile(r.Args)
		if err != nil {
			return policy, fmt.Errorf("the profile %s, %q: %w", name, r.Names, err)
		}
		for _, call := range r.Names {
			_, known := machine.SyscallNames[call]
			switch {
			case !known: // a call of another architecture, which runtimes ignore too
			case conditions == nil:
				allow.Names = append(allow.Names, call)
			default:
				allow.NamesWithCondtions = append(allow.NamesWithCondtions, seccompbpf.NameWithConditions{Name: call, Conditions: conditions})
			}
		}
	}
	slices.Sort(allow.Names)
	return seccompbpf.Policy{DefaultAction: refused, Syscalls: []seccompbpf.SyscallGroup{allow}}, nil
}

// compile returns the conditions of a rule: that an argument has a value, or none of some bits.
func compile(args []condition) (list seccompbpf.ArgumentConditions, err error) {
	for _, a := range args {
		c := seccompbpf.Condition{Argument: a.Index, Value: a.Value, Operation: seccompbpf.Equal}
		switch {
		case a.Op == "SCMP_CMP_MASKED_EQ" && a.ValueTwo == 0:
			c.Operation = seccompbpf.BitsNotSet
		case a.Op != "SCMP_CMP_EQ":
			return nil, fmt.Errorf("the condition %+v is not supported here", a)
		}
		list = append(list, c)
	}
	return list, nil
}
