// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/halfclose/halfclose/pkg/bpf"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/policyfile"
)

// parse parses the reaper's flags from a command line and an environment.
func parse(t *testing.T, set map[string]string, args ...string) (Config, *pflag.FlagSet) {
	t.Helper()
	var f Config
	flags := pflag.NewFlagSet("reaper", pflag.ContinueOnError)
	f.addFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	if err := fromEnvironment(flags, func(name string) string { return set[name] }); err != nil {
		t.Fatal(err)
	}
	return f, flags
}

func defaults() Config {
	return Config{
		Finder: "auto", MaxBPFSockets: bpf.DefaultMaxSockets, Mode: policy.Destroy, MinGrace: time.Second, CPUBudget: 0.02, MaxDestroysPerSecond: 1000,
		MaxAsksPerSecond: 1000, AskCPUBudget: 0.02,
		LogFormat: "text", PolicyFile: policyfile.DefaultPath,
		Adopt: true, CNICaches: []string{"/var/lib/cni", "/var/lib/cni/multus"}, CNIConfDirs: []string{"/etc/cni/net.d", "/etc/cni/multus/net.d"},
	}
}

// others are values that no flag has by default, and the Config with them.
func others() (map[string]string, Config) {
	values := map[string]string{
		"finder": "sockdiag", "bpf-sockets": "4711", "mode": "observe", "min-grace": "7s", "cpu-budget": "0.5%", "max-destroys-per-second": "9",
		"max-asks-per-second": "0", "ask-cpu-budget": "1%",
		"host-root": "/host", "allow-host-netns": "true", "idle-exit": "3m", "wait": "true", "log-level": "debug",
		"log-format": "json", "metrics-address": "127.0.0.1:20470",
		"policy-file": "/p/policy.yaml",
		"sample":      "5s",
		"adopt":       "false", "cni-cache": "/a,/b", "cni-conf-dir": "/c", "adopt-netns": "/run/docker/netns",
	}
	return values, Config{
		Finder: "sockdiag", MaxBPFSockets: 4711, Mode: policy.Observe, MinGrace: 7 * time.Second, CPUBudget: 0.005, MaxDestroysPerSecond: 9, AskCPUBudget: 0.01,
		HostRoot: "/host", AllowHostNetns: true, IdleExit: 3 * time.Minute, Wait: true, LogLevel: slog.LevelDebug,
		LogFormat: "json", MetricsAddress: "127.0.0.1:20470", PolicyFile: "/p/policy.yaml", Sample: 5 * time.Second,
		CNICaches: []string{"/a", "/b"}, CNIConfDirs: []string{"/c"}, AdoptNetns: []string{"/run/docker/netns"},
	}
}

func TestEveryFlagCanBeSetInTheEnvironment(t *testing.T) {
	values, want := others()
	_, flags := parse(t, nil)
	environ := make(map[string]string)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, ok := values[f.Name]
		if !ok || value == f.DefValue {
			t.Errorf("the test has no other value for --%s", f.Name)
		}
		environ["HALFCLOSE_"+strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))] = value
	})
	got, _ := parse(t, environ)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("flags (-want +got)\n%s", diff)
	}
}

func TestTheCommandLineOverridesTheEnvironment(t *testing.T) {
	got, _ := parse(t, map[string]string{"HALFCLOSE_MIN_GRACE": "7s", "HALFCLOSE_MODE": "off", "HALFCLOSE_WAIT": ""}, "--min-grace", "2s")
	want := defaults()
	want.MinGrace, want.Mode = 2*time.Second, policy.Off
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("flags (-want +got)\n%s", diff)
	}
}

func TestTheEnvironmentDoesNotSetAuto(t *testing.T) {
	got, _ := parse(t, map[string]string{"HALFCLOSE_AUTO": "true", "HALFCLOSE_HELP": "true", "HALFCLOSE_UNKNOWN": "x"})
	if diff := cmp.Diff(defaults(), got); diff != "" {
		t.Errorf("flags (-want +got)\n%s", diff)
	}
}

func TestShareOfACore(t *testing.T) {
	for text, want := range map[string]share{"2%": 0.02, "2": 0.02, "0.5 %": 0.005, "100%": 1} {
		var got share
		if err := got.Set(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "%", "0", "-1%", "101%", "NaN", "Inf", "a lot"} {
		got := share(0.02)
		if err := got.Set(text); err == nil || got != 0.02 {
			t.Errorf("%q: got %v, %v, want an error", text, got, err)
		}
	}
}

func TestVariablesOfNoFlagAreWarnedAbout(t *testing.T) {
	var c Config
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	c.addFlags(flags)
	flags.String(stateDirFlag, "", "")
	got := unknownVariables(flags, []string{
		"HALFCLOSE_MOD=observe", "HALFCLOSE_MIN_GRACE=1s", "HALFCLOSE_STATE_DIR=/run", "HALFCLOSE_AUTO=true", "HALFCLOSE_=", "PATH=/bin",
		"HALFCLOSE_SERVICE_HOST=10.0.0.1", "HALFCLOSE_SERVICE_PORT_METRICS=1", "HALFCLOSE_PORT=tcp://10.0.0.1:1", "HALFCLOSE_PORT_1_TCP=x",
	})
	want := []string{
		"the environment variable HALFCLOSE_ belongs to no flag and has no effect",
		"the environment variable HALFCLOSE_AUTO belongs to no flag and has no effect",
		"the environment variable HALFCLOSE_MOD belongs to no flag and has no effect: did you mean HALFCLOSE_MODE?",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestPathsReplaceTheDefaultAndAddUp(t *testing.T) {
	c, _ := parse(t, nil, "--cni-cache", "/a", "--cni-cache=/b,/c")
	if want := []string{"/a", "/b", "/c"}; !slices.Equal(c.CNICaches, want) {
		t.Errorf("got %q, want %q", c.CNICaches, want)
	}
	flags := pflag.NewFlagSet("reaper", pflag.ContinueOnError)
	new(Config).addFlags(flags)
	if err := flags.Parse([]string{"--adopt-netns", "run/docker/netns"}); err == nil || !strings.Contains(err.Error(), "absolute") {
		t.Errorf("a relative path: %v", err)
	}
}
