// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/halfclose/halfclose/test/kernels/plan"
	"github.com/halfclose/halfclose/test/node"
)

// The directories of the machine.
const (
	sourceDir   = "/src"      // the directories of the suites, as in the repository
	programsDir = "/programs" // the programs under test
)

// suite is a package whose tests run on the machine.
type suite struct {
	dir string
	// part is the role of the suite in the table of docs/kernels.md.
	part part
	// absent names tests that need the repository or the go command, or are too much for an emulated machine: they compute for
	// long, or have thousands of sockets under deadlines.
	absent []string
	// without names tests that run first, before the modules of sock_diag are loaded.
	without []string
}

// part is a part of halfclose.
type part string

// The parts.
const (
	kernelAccess part = "kernel access"
	finders      part = "finders"
	asking       part = "prober"
	plugin       part = "plugin"
	whole        part = "reaper and commands"
)

// suites lists all suites. Each finder's tests are in pkg/finder and pkg/bpf; test/judgement runs each scene with both.
func suites() []suite {
	return []suite{
		{dir: "pkg/inetdiag", part: kernelAccess},
		{dir: "pkg/netns", part: kernelAccess},
		{dir: "pkg/owners", part: kernelAccess},
		{dir: "pkg/descriptors", part: kernelAccess, absent: []string{"TestTheCountsAgreeWithAModel"}},
		{dir: "pkg/finder", part: finders},
		{dir: "pkg/bpf", part: finders},
		{dir: "pkg/prober", part: asking, absent: []string{
			"TestPollingOwnerGetsNoEventOfAClosedDescriptor", "TestPollingOwnerGetsNoEventOfAClosedDescriptorWhileTheProberIsThrottled",
		}},
		{dir: "plugins/halfclose", part: plugin, absent: []string{"TestThePluginLinksWhatItIsKnownToLink", "TestThePluginIsSmall"}},
		{
			dir: "test/judgement", part: whole, absent: []string{"TestSourcesAreNoted", "TestEachCapabilityIsNeededForTheUsesInTheTable"}, // which reads docs
			without: []string{"TestReaperWithoutTheModulesOfSockDiagWorksOnceTheyAreLoaded"},
		},
	}
}

// short lists the tests of -short by suite: twenty of what another kernel is most likely to break.
func short() map[string][]string {
	return map[string][]string{
		"pkg/inetdiag": {
			"TestDestroyHasTheDocumentedEffectOnOwnerAndPeer", "TestDumpReportsEachNetworkOnce", "TestHasListenerFollowsTheKernelsRules",
			"TestTCPInfoIsReadWhereTheKernelPutsIt",
		},
		"pkg/netns":  {"TestWithoutFileHandlesANamespaceWithAProcessExists"},
		"pkg/owners": {"TestFindReturnsAllOwnersOfASocket", "TestASocketOfAProcessWithoutMainThreadIsFound"},
		"pkg/finder": {"TestAutoSelectsBPFIfItsProgramsLoad", "TestSeenReportsEveryHalfClosedSocketBeforeSwept", "TestRolesAreReported"},
		"pkg/bpf": {
			"TestSetHasASocketFromTheMomentItIsHalfClosed", "TestASocketLeavesTheSetWhenItIsNotHalfClosedAnyMore",
			"TestProgramsReportTheSameFieldsAsSockDiag", "TestProgramsReportWhichSideOpenedAConnection",
		},
		"pkg/prober": {
			"TestClosedPeerIsDistinguishedFromOneThatOnlyShut", "TestFirstProbeHasTheArmedValues", "TestNextProberRestoresTheSocketsOfAKilledOne",
		},
		"plugins/halfclose": {"TestAddRecordsTheAttachment", "TestDelDropsTheRecordByItsName"},
		"test/judgement":    {"TestReaperWithoutTheModulesOfSockDiagWorksOnceTheyAreLoaded"},
	}
}

// shortSeries is the kernel of -short.
const shortSeries = "6.1"

// series lists the kernels of a run that names none: the long-term ones of Debian's releases, and those between and after.
func series() []string {
	return []string{"5.10", "6.1", "6.12", "6.16", "6.17", "6.18", "6.19", "7.0", "7.1", "7.2", "7.3"}
}

// choice is the choice of tests.
type choice struct {
	short   bool
	suites  []string // all if it is empty
	pattern string
}

// step is a step of the plan, with the top-level tests that it must report.
type step struct {
	plan.Step
	suite suite
	tests []string
	// noSkips means that a skipped test counts as failed, unless the kernel is too old for it.
	noSkips bool
	// doctor means that the step prints the findings of halfclose doctor, and runs no test.
	doctor bool
}

func doctorStep() step {
	return step{doctor: true, Step: plan.Step{Name: "halfclose doctor", Dir: "/", Args: []string{programsDir + "/cmd/halfclose", "doctor", "-o", "json"}}}
}

// testTimeout is the limit for a suite: for a broken test, not a measure of speed.
const testTimeout = "40m"

// steps returns the steps of a choice, in the repository top.
func (c choice) steps(top string) ([]step, error) {
	pattern, err := regexp.Compile(c.pattern)
	if err != nil {
		return nil, err
	}
	for _, name := range c.suites {
		if !slices.ContainsFunc(suites(), func(s suite) bool { return s.dir == name }) {
			return nil, fmt.Errorf("there is no suite %s: see test/kernels/suites.go", name)
		}
	}
	var first, rest []step
	for _, s := range suites() {
		if len(c.suites) > 0 && !slices.Contains(c.suites, s.dir) {
			continue
		}
		tests, err := testsIn(filepath.Join(top, s.dir))
		if err != nil {
			return nil, err
		}
		listed := short()[s.dir]
		for _, name := range slices.Concat(listed, s.absent, s.without) {
			if !slices.Contains(tests, name) {
				return nil, fmt.Errorf("%s has no test %s, which test/kernels/suites.go names", s.dir, name)
			}
		}
		tests = slices.DeleteFunc(tests, func(name string) bool {
			return slices.Contains(s.absent, name) || c.short && !slices.Contains(listed, name) || !pattern.MatchString(name)
		})
		var early, late []string
		for _, name := range tests {
			if slices.Contains(s.without, name) {
				early = append(early, name)
			} else {
				late = append(late, name)
			}
		}
		if len(early) > 0 {
			w := newStep(s, early)
			w.Name += " without inet_diag"
			w.Without, w.noSkips = []string{"inet_diag", "tcp_diag"}, true
			w.Env = append(w.Env, unloadedVar+"="+plan.Modules)
			first = append(first, w)
		}
		if len(late) > 0 {
			l := newStep(s, late)
			l.noSkips = c.short
			rest = append(rest, l)
		}
	}
	if len(first)+len(rest) == 0 {
		return nil, fmt.Errorf("no test matches %q", c.pattern)
	}
	return slices.Concat(first, []step{doctorStep()}, rest), nil
}

// unloadedVar is an environment variable of test/judgement.
const unloadedVar = "HALFCLOSE_TEST_UNLOADED"

func newStep(s suite, tests []string) step {
	return step{suite: s, tests: tests, Step: plan.Step{
		Name: s.dir,
		Dir:  path.Join(sourceDir, s.dir),
		Args: []string{
			testPath(s), "-test.v=test2json", "-test.timeout=" + testTimeout, "-test.run=^(" + strings.Join(tests, "|") + ")$",
		},
		Env: []string{node.ProgramsVar + "=" + programsDir},
	}}
}

// testPath is the path of a suite's test program on the machine, with the name that go test gives it.
func testPath(s suite) string { return "/tests/" + path.Base(s.dir) + ".test" }

// testsIn lists the top-level tests of a package.
func testsIn(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return nil, err
	}
	var tests []string
	for _, name := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, d := range parsed.Decls {
			f, ok := d.(*ast.FuncDecl)
			if ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") && f.Name.Name != "TestMain" {
				tests = append(tests, f.Name.Name)
			}
		}
	}
	slices.Sort(tests)
	return tests, nil
}
