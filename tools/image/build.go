// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// about describes an image.
type about struct {
	ref, version, commit string
	created              time.Time // of the source: an image has no time of its own
	licences             string    // the directory of the licences and notices
}

// built is an image for several platforms.
type built struct {
	index v1.ImageIndex
	first v1.Image // of the first platform: a docker-save archive holds only one
}

// noArtifact is an image that an index lists as an image. The library would list it as an artifact of its configuration's
// type.
type noArtifact struct{ v1.Image }

// ArtifactType returns no type.
func (noArtifact) ArtifactType() (string, error) { return "", nil }

// Paths in the image. The command is in the PATH of kubectl exec, and the plugin where halfclose install looks for it.
const (
	binDir     = "/usr/local/bin"
	commandIn  = binDir + "/halfclose"
	pluginIn   = "/usr/local/lib/halfclose/cni/halfclose"
	licencesIn = "/usr/share/doc/halfclose"
)

// build builds the image of these commands and plugins, one of each for each platform. The image holds nothing else than
// them, their licences and notices.
func build(a about, commands, plugins []string) (built, error) {
	b := built{index: mutate.IndexMediaType(empty.Index, types.OCIImageIndex)}
	pairs, err := pair(commands, plugins)
	if err != nil {
		return built{}, err
	}
	for _, p := range pairs {
		image, err := a.image(p)
		if err != nil {
			return built{}, fmt.Errorf("make the image for %s: %w", p.command.platform, err)
		}
		b.index = mutate.AppendManifests(b.index, mutate.IndexAddendum{
			Add: noArtifact{image}, Descriptor: v1.Descriptor{Platform: &p.command.platform},
		})
		if b.first == nil {
			b.first = image
		}
	}
	b.index = mutate.Annotations(b.index, a.labels()).(v1.ImageIndex)
	return b, nil
}

// programs are the two programs of one platform's image.
type programs struct{ command, plugin executable }

// pair reads the programs and returns each command with its plugin.
func pair(commands, plugins []string) ([]programs, error) {
	first, err := readBinaries(commands)
	if err != nil {
		return nil, err
	}
	second, err := readBinaries(plugins)
	if err != nil {
		return nil, err
	}
	for _, plugin := range second {
		if _, ok := forPlatform(first, plugin.platform); !ok {
			return nil, fmt.Errorf("%s is for %s: name the command for it too", plugin.path, plugin.platform)
		}
	}
	var pairs []programs
	for _, command := range first {
		plugin, ok := forPlatform(second, command.platform)
		if !ok {
			return nil, fmt.Errorf("%s is for %s: name the plugin for it too", command.path, command.platform)
		}
		pairs = append(pairs, programs{command, plugin})
	}
	return pairs, nil
}

// image builds the image of one platform from scratch: a layer of licences, which all versions with the same modules share, and
// one for each program, as a Dockerfile's COPY does.
func (a about) image(p programs) (v1.Image, error) {
	created := v1.Time{Time: a.created.UTC()}
	image, err := mutate.ConfigFile(mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1), &v1.ConfigFile{
		OS: p.command.platform.OS, Architecture: p.command.platform.Architecture, Created: created,
		RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			Entrypoint: []string{commandIn},
			Env:        []string{"PATH=" + binDir},
			User:       "0:0", // the reaper enters namespaces, the installer writes root's files
			WorkingDir: "/",
			Labels:     a.labels(),
		},
	})
	if err != nil {
		return nil, err
	}
	licences, err := readLicences(a.licences)
	if err != nil {
		return nil, err
	}
	for _, copied := range []struct {
		name, to string
		files    []member
	}{
		{"share/licenses", licencesIn, licences},
		{"halfclose", commandIn, []member{{commandIn, 0o755, p.command.program}}},
		{"halfclose-cni", pluginIn, []member{{pluginIn, 0o755, p.plugin.program}}},
	} {
		content, err := layer(copied.files)
		if err != nil {
			return nil, err
		}
		compressed, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(content)), nil
		}, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
		if err != nil {
			return nil, err
		}
		image, err = mutate.Append(image, mutate.Addendum{
			Layer: compressed, MediaType: types.OCILayer,
			History: v1.History{Created: created, CreatedBy: "COPY " + copied.name + " " + copied.to},
		})
		if err != nil {
			return nil, err
		}
	}
	return mutate.Annotations(image, a.labels()).(v1.Image), nil
}

// member is a file of a layer.
type member struct {
	path    string
	mode    int64
	content []byte
}

// readLicences returns the files of the directory of licences and notices.
func readLicences(dir string) ([]member, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the licences: %w", err)
	}
	var files []member
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read the licences: %w", err)
		}
		files = append(files, member{licencesIn + "/" + e.Name(), 0o644, content})
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s has no licences", dir)
	}
	return files, nil
}

// layer is an archive of files, with the directories on the way to them.
func layer(files []member) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	made := make(map[string]bool)
	for _, f := range files {
		name := strings.TrimPrefix(f.path, "/")
		for i, c := range name {
			if c != '/' || made[name[:i]] {
				continue
			}
			made[name[:i]] = true
			if err := w.WriteHeader(entry(name[:i+1], 0)); err != nil {
				return nil, err
			}
		}
		h := entry(name, len(f.content))
		h.Mode = f.mode
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

// entry returns the header of a file, or of a directory if the name ends in a slash. The owner is root and the time the
// epoch, so that archives are reproducible.
func entry(name string, size int) *tar.Header {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(size), Mode: 0o755, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
	if name[len(name)-1] == '/' {
		h.Typeflag = tar.TypeDir
	}
	return h
}

// ownLicence is the SPDX expression of our own files: the BPF programs have a choice. Those of linked modules are in the notices.
const ownLicence = "Apache-2.0 AND (GPL-2.0-only OR BSD-2-Clause)"

// labels describe the image, with the keys of the OCI image specification's annotations.
func (a about) labels() map[string]string {
	const home = "https://github.com/halfclose/halfclose"
	labels := map[string]string{
		"title":         "halfclose",
		"description":   "Destroys half-closed TCP sockets of containers past their grace",
		"url":           home,
		"source":        home,
		"documentation": home + "/tree/main/docs",
		"licenses":      ownLicence,
		"created":       a.created.UTC().Format(time.RFC3339),
	}
	if a.version != "" {
		labels["version"] = a.version
	}
	if a.commit != "" {
		labels["revision"] = a.commit
	}
	full := make(map[string]string, len(labels))
	for key, value := range labels {
		full["org.opencontainers.image."+key] = value
	}
	return full
}
