// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/state"
)

// changedFlags returns the names of the flags that have been set so far.
func changedFlags(flags *pflag.FlagSet) map[string]bool {
	changed := make(map[string]bool)
	flags.Visit(func(f *pflag.Flag) { changed[f.Name] = true })
	return changed
}

// flagViews lists the flags of halfclose reaper with their values. given are those on the command line.
func flagViews(flags *pflag.FlagSet, given map[string]bool, getenv func(string) string) []api.FlagView {
	var list []api.FlagView
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" || f.Name == "version" {
			return
		}
		v := api.FlagView{Name: f.Name, Value: f.Value.String(), Default: f.DefValue, Source: api.FromDefault, Variable: variable(f.Name)}
		if f.Name == stateDirFlag { // its default is the variable's value
			v.Default, v.Variable = state.DefaultDir, state.EnvDir
			if getenv(state.EnvDir) != "" {
				v.Source = api.FromEnvironment
			}
		}
		switch {
		case given[f.Name]:
			v.Source = api.FromFlag
		case f.Changed:
			v.Source = api.FromEnvironment
		}
		list = append(list, v)
	})
	slices.SortFunc(list, func(a, b api.FlagView) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// flags lists the flags after the configuration is complete.
func (c *command) flags(flags *pflag.FlagSet, given map[string]bool) []api.FlagView {
	list := flagViews(flags, given, c.Getenv)
	for i := range list {
		switch f := &list[i]; {
		case f.Name == stateDirFlag:
			f.Value = c.cfg.StateDir
		case f.Name == "idle-exit" && f.Source == api.FromDefault && c.cfg.Auto:
			f.Value, f.Source = c.cfg.IdleExit.String(), api.FromPlugin
		}
	}
	return list
}

// logLevel is the level of the log, which can be changed while the reaper runs. Its methods are safe for concurrent use.
type logLevel struct {
	slog.LevelVar
	mu         sync.Mutex
	configured slog.Level
	until      time.Time
	who        string
	timer      *time.Timer // restores the configured level; nil if none is set
	changes    int         // so far: a timer that a later change has stopped too late does nothing
}

func newLogLevel(configured slog.Level) *logLevel {
	l := &logLevel{configured: configured}
	l.Set(configured)
	return l
}

// change sets the level for a time, 0 until the reaper exits, and logs that.
func (l *logLevel) change(level slog.Level, lasts time.Duration, who string, log *slog.Logger) api.LogLevelView {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
	}
	l.changes++
	l.timer, l.until, l.who = nil, time.Time{}, who
	if level == l.configured {
		l.who = ""
	}
	if lasts > 0 && level != l.configured {
		change := l.changes
		l.until = time.Now().Add(lasts).UTC().Round(time.Second)
		l.timer = time.AfterFunc(lasts, func() { l.restore(change, log) })
	}
	l.apply(level, log, "by", who)
	return l.view()
}

// restore sets the configured level again, unless the level has changed since.
func (l *logLevel) restore(change int, log *slog.Logger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if change != l.changes {
		return
	}
	l.timer, l.until, l.who = nil, time.Time{}, ""
	l.apply(l.configured, log)
}

// apply sets the level, and logs it while the lower of both levels applies.
func (l *logLevel) apply(level slog.Level, log *slog.Logger, args ...any) {
	was := l.Level()
	l.Set(min(was, level))
	log.Info("log level changed", append([]any{"from", levelName(was), "to", levelName(level)}, args...)...)
	l.Set(level)
}

// show returns the level.
func (l *logLevel) show() api.LogLevelView {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.view()
}

func (l *logLevel) view() api.LogLevelView {
	return api.LogLevelView{Level: levelName(l.Level()), Configured: levelName(l.configured), Until: l.until, Who: l.who}
}

func levelName(l slog.Level) string { return strings.ToLower(l.String()) }

// config returns the configuration for the API.
func (d *Daemon) config() api.Config {
	return api.Config{Flags: d.cfg.Flags, LogLevel: d.level.show(), Warnings: d.cfg.UnknownVariables}
}

// setLogLevel sets the level of the log.
func (d *Daemon) setLogLevel(level slog.Level, lasts time.Duration, who string) api.LogLevelView {
	return d.level.change(level, lasts, who, d.log)
}
