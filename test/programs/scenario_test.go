// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package programs_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
)

// scenario is a run of a program, first without halfclose and then with it.
type scenario struct {
	name  string
	needs []program
	// policy are the flags for registering the program's namespace. Without any, the peer is asked after a second.
	policy []string
	// peerPolicy are the flags for the namespace of its peer. Without any, that namespace is not registered.
	peerPolicy []string
	play       func(s *stage) []result
	// fails is set if the program fails without halfclose too.
	fails bool
	// varies is the reason why the program fails at random, with and without halfclose. The test then compares only the
	// remaining sockets, not the results.
	varies string
	// worse is the known reason why the program has worse results with halfclose. The test fails if the results are not
	// worse.
	worse string
}

// asking is a policy under which a peer is asked soon, and time destroys no socket.
func asking() []string { return []string{"--probe-after", "1s", "--grace", "1h"} }

// result is the outcome of one action of the program.
type result struct {
	what string
	err  string // what the program saw instead; "" if it worked
}

func (r result) String() string {
	if r.err == "" {
		return r.what + " works"
	}
	return r.what + " fails: " + r.err
}

func worked(results []result) (n int) {
	for _, r := range results {
		if r.err == "" {
			n++
		}
	}
	return n
}

// compare plays the scenarios of a family.
func compare(t *testing.T, scenarios ...scenario) {
	t.Helper()
	needNode(t)
	t.Parallel()
	if os.Getenv(quickVar) != "" {
		scenarios = scenarios[:1]
	}
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			for _, p := range sc.needs {
				p.need(t)
			}
			sc.compare(t)
		})
	}
}

// compare plays the scenario without halfclose and with each reaper, and fails the test if the program has worse
// results with one.
func (sc scenario) compare(t *testing.T) {
	t.Helper()
	sides := append([]*reaper{nil}, reapers...)
	results := make([][]result, len(sides))
	t.Run("played", func(t *testing.T) {
		for i, r := range sides {
			name := "without halfclose"
			if r != nil {
				name = "with the finder " + r.finder
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := newStage(t, r)
				policy := sc.policy
				if policy == nil {
					policy, s.isAsking = asking(), true
				}
				s.register("pod", s.pod, policy)
				if sc.peerPolicy != nil {
					s.register("peer", s.peer, sc.peerPolicy)
				}
				s.openLeak()
				results[i] = sc.play(s)
				s.endsLeak()
				t.Log(results[i])
			})
		}
	})
	if t.Failed() || t.Skipped() || sc.varies != "" {
		return
	}
	without := results[0]
	if isFailure := worked(without) < len(without); isFailure != sc.fails {
		t.Errorf("without halfclose it does not do what is expected: %v", without)
	}
	for i, with := range results[1:] {
		if len(with) != len(without) {
			t.Errorf("with the finder %s there are %d results, without halfclose %d", sides[i+1].finder, len(with), len(without))
			continue
		}
		switch isWorse := worked(with) < worked(without); {
		case isWorse && sc.worse == "":
			t.Errorf("the program fares worse with the finder %s:\nwith halfclose: %v\nwithout:        %v", sides[i+1].finder, with, without)
		case !isWorse && sc.worse != "":
			t.Errorf("the program fares as well with the finder %s, which is expected otherwise: %s", sides[i+1].finder, sc.worse)
		}
	}
}

// program is an installed program that a scenario needs.
type program struct {
	name  string
	check []string // a command that succeeds if the program can be used
}

// command is a program that is looked for in PATH.
func command(name string) program { return program{name, nil} }

// busybox is an applet of BusyBox.
func busybox(applet string) program {
	return program{"busybox " + applet, []string{"busybox", "sh", "-c", "busybox --list | grep -qx " + applet}}
}

// python is a module of Debian's Python.
func python(module string) program {
	return program{"python3-" + module, []string{python3, "-c", "import " + module}}
}

// npm is a package that was installed by npm.
func npm(name string) program {
	return program{name + " from npm", []string{"node", "-e", "require('" + name + "')"}}
}

// java is a program in Java that scripts/e2e-programs.sh compiled.
func java(class string) program {
	return program{"java " + class, []string{"sh", "-c", "command -v java && test -r " + filepath.Join(os.Getenv(madeVar), "java", class+".class")}}
}

// javaArgv starts it, as a program that runs for a short time.
func javaArgv(class string) []string {
	return []string{"java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", filepath.Join(os.Getenv(madeVar), "java"), class}
}

// made is a program that scripts/e2e-programs.sh built.
func made(name string) program {
	return program{name, []string{"test", "-x", filepath.Join(os.Getenv(madeVar), name)}}
}

// need skips the test if the program is missing. If CI is set, the test fails.
func (p program) need(t *testing.T) {
	t.Helper()
	var err error
	if p.check == nil {
		_, err = exec.LookPath(p.name)
	} else {
		cmd := exec.Command(p.check[0], p.check[1:]...)
		cmd.Env = programEnv()
		var out []byte
		if out, err = cmd.CombinedOutput(); err != nil {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
		}
	}
	if err == nil {
		return
	}
	nstest.Skip(t, fmt.Sprintf("%s is missing: %v: run make e2e-programs, which installs it", p.name, err))
}
