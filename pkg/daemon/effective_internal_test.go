// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestEachFlagSaysWhereItsValueComesFrom(t *testing.T) {
	env := map[string]string{"HALFCLOSE_MIN_GRACE": "5s", "HALFCLOSE_MODE": "observe", state.EnvDir: "/from/environment"}
	c := command{Environment: Environment{Getenv: func(name string) string { return env[name] }}}
	cmd := &cobra.Command{}
	cmd.Flags().String(stateDirFlag, "/from/environment", "")
	c.cfg.addFlags(cmd.Flags())
	if err := cmd.ParseFlags([]string{"--mode", "destroy", "--cpu-budget", "3", "--auto"}); err != nil {
		t.Fatal(err)
	}
	given := changedFlags(cmd.Flags())
	if err := fromEnvironment(cmd.Flags(), c.Getenv); err != nil {
		t.Fatal(err)
	}
	c.cfg.StateDir, c.cfg.IdleExit = "/from/environment", autoIdleExit
	got := make(map[string]api.FlagView)
	for _, f := range c.flags(cmd.Flags(), given) {
		got[f.Name] = f
	}
	for _, want := range []api.FlagView{
		{Name: "mode", Value: "destroy", Source: api.FromFlag, Default: "destroy", Variable: "HALFCLOSE_MODE"},
		{Name: "cpu-budget", Value: "3%", Source: api.FromFlag, Default: "2%", Variable: "HALFCLOSE_CPU_BUDGET"},
		{Name: "min-grace", Value: "5s", Source: api.FromEnvironment, Default: "1s", Variable: "HALFCLOSE_MIN_GRACE"},
		{Name: "log-level", Value: "info", Source: api.FromDefault, Default: "info", Variable: "HALFCLOSE_LOG_LEVEL"},
		{Name: "idle-exit", Value: "5m0s", Source: api.FromPlugin, Default: "0s", Variable: "HALFCLOSE_IDLE_EXIT"},
		{Name: "state-dir", Value: "/from/environment", Source: api.FromEnvironment, Default: state.DefaultDir, Variable: state.EnvDir},
	} {
		if diff := cmp.Diff(want, got[want.Name]); diff != "" {
			t.Errorf("--%s (-want +got):\n%s", want.Name, diff)
		}
	}
	if _, ok := got["auto"]; ok {
		t.Error("a hidden flag is listed")
	}
}

func TestTheLogLevelReturnsToTheConfiguredOneOnItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := newLogLevel(slog.LevelWarn)
		log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: l}))
		log.Info("before")
		view := l.change(slog.LevelDebug, 10*time.Minute, "alice", log)
		want := api.LogLevelView{Level: "debug", Configured: "warn", Until: time.Now().Add(10 * time.Minute).UTC(), Who: "alice"}
		if diff := cmp.Diff(want, view); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		time.Sleep(10*time.Minute - time.Nanosecond)
		synctest.Wait()
		log.Debug("during")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		log.Info("after")
		if diff := cmp.Diff(api.LogLevelView{Level: "warn", Configured: "warn"}, l.show()); diff != "" {
			t.Errorf("after (-want +got)\n%s", diff)
		}
		text := out.String()
		for word, isLogged := range map[string]bool{"before": false, "during": true, "after": false, `"log level changed" from=warn to=debug by=alice`: true, "from=debug to=warn": true} {
			if strings.Contains(text, word) != isLogged {
				t.Errorf("%q is logged: %v\n%s", word, !isLogged, text)
			}
		}
	})
}

func TestALaterLogLevelReplacesTheEndOfTheEarlier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		l := newLogLevel(slog.LevelInfo)
		l.change(slog.LevelDebug, time.Minute, "alice", log)
		if view := l.change(slog.LevelError, 0, "bob", log); view.Level != "error" || !view.Until.IsZero() || view.Who != "bob" {
			t.Errorf("it is %+v", view)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if view := l.show(); view.Level != "error" {
			t.Errorf("after the end of the first it is %+v", view)
		}
		if view := l.change(slog.LevelInfo, time.Hour, "bob", log); view != (api.LogLevelView{Level: "info", Configured: "info"}) {
			t.Errorf("the configured level is %+v", view)
		}
	})
}
