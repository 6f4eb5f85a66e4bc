// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package buildinfo identifies the build of this binary.
package buildinfo

import (
	"runtime"
	"runtime/debug"
	"strings"
)

// Only the linker's -X sets these: go build -ldflags "-X <this package>.version=v1.2.3 ...". Empty means not stamped.
var version, commit string

// unknown is the value of a field that neither the stamp nor the toolchain recorded.
const unknown = "unknown"

// Info identifies a build. Every field is set: an unknown one is "unknown", or "devel" for the version of a build from a
// working tree.
type Info struct {
	Version  string `json:"version"`  // of scripts/version.sh, with a v: v0.1.0, v0.1.0-dev.g0123456789ab; else from the module cache
	Commit   string `json:"commit"`   // git revision, with "-dirty" if the tree was changed
	Go       string `json:"go"`       // version of the Go toolchain
	Platform string `json:"platform"` // GOOS/GOARCH
}

// Build identifies a build regardless of its program.
type Build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
}

// String returns the build as it is compared with another one.
func (b Build) String() string { return b.Version + " (commit " + b.Commit + ")" }

// Build returns the part that the other program of the build shares.
func (i Info) Build() Build { return Build{Version: i.Version, Commit: i.Commit} }

// Get returns the stamp of the binary. It fills fields without a stamp from the Go toolchain's build information, as in a
// binary from go install.
func Get() Info {
	bi := &debug.BuildInfo{}
	if version == "" || commit == "" { // reading costs time in each ADD of the plugin
		if read, ok := debug.ReadBuildInfo(); ok {
			bi = read
		}
	}
	return get(version, commit, bi)
}

// get is Get with the given stamp and build information.
func get(version, commit string, bi *debug.BuildInfo) Info {
	i := Info{
		Version:  version,
		Commit:   commit,
		Go:       runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if i.Version == "" {
		i.Version = bi.Main.Version
	}
	if i.Version == "" || i.Version == "(devel)" {
		i.Version = "devel"
	}
	if i.Commit == "" {
		i.Commit = revision(bi.Settings)
	}
	return i
}

// revision returns the version control revision among the build settings.
func revision(settings []debug.BuildSetting) string {
	rev, dirty := unknown, false
	for _, s := range settings {
		switch s.Key {
		case "vcs.revision":
			rev = s.Value
		case "vcs.modified":
			dirty = s.Value == "true"
		}
	}
	if dirty && rev != unknown {
		rev += "-dirty"
	}
	return rev
}

// String returns the build in one line, as "halfclose version" prints it.
func (i Info) String() string {
	return "halfclose " + i.Version + " (commit " + i.Commit + ", " + i.Go + ", " + i.Platform + ")"
}

// pluginPrefix is the start of the plugin's line.
const pluginPrefix = "CNI plugin "

// PluginLine returns the line in which the plugin prints its build, without the newline.
func (i Info) PluginLine() string { return pluginPrefix + i.String() }

// ParsePlugin finds the line of PluginLine in the output of a program.
func ParsePlugin(text string) (Info, bool) {
	for line := range strings.Lines(text) {
		line, ok := strings.CutPrefix(strings.TrimSpace(line), pluginPrefix+"halfclose ")
		if !ok {
			continue
		}
		version, rest, _ := strings.Cut(line, " (commit ")
		rest, closed := strings.CutSuffix(rest, ")")
		part := strings.Split(rest, ", ")
		if closed && len(part) == 3 {
			return Info{Version: version, Commit: part[0], Go: part[1], Platform: part[2]}, true
		}
	}
	return Info{}, false
}
