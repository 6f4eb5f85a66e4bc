// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	securityv1 "github.com/openshift/api/security/v1"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	strict "sigs.k8s.io/yaml"
)

const (
	repository = "../.."
	chartDir   = "deploy/kubernetes/chart" // in the repository
)

// buildHelm returns the path of Helm.
var buildHelm = sync.OnceValues(func() (string, error) {
	build := exec.Command("scripts/tool.sh", "helm")
	build.Dir, build.Stderr = repository, os.Stderr
	path, err := build.Output()
	return strings.TrimSpace(string(path)), err
})

// helm runs Helm in the top directory of the repository.
func helm(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	path, err := buildHelm()
	if err != nil {
		t.Fatalf("build helm: %v", err)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = repository
	home := t.TempDir() // without the repositories and plugins of the user who runs the tests
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "KUBECONFIG="+filepath.Join(home, "none"))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("helm %s: %w: %s%s", args[0], err, errs.String(), out.String())
	}
	return out.String(), nil
}

// template renders the chart for a cluster of a version.
func template(t *testing.T, version string, args ...string) (string, error) {
	t.Helper()
	return helm(t, append([]string{"template", "halfclose", chartDir, "--namespace", "kube-system", "--kube-version", version}, args...)...)
}

// mustTemplate renders the chart for the cluster of most tests.
func mustTemplate(t *testing.T, args ...string) string {
	t.Helper()
	text, err := template(t, "1.34.0", args...)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// rendered has the objects of a rendered chart by kind and name.
type rendered map[string]any

// render renders the chart, and reads each object.
func render(t *testing.T, args ...string) rendered {
	t.Helper()
	return parse(t, mustTemplate(t, args...))
}

// types are the Go types of the API objects that the chart makes.
var types = map[string]func() any{
	"ConfigMap":                  func() any { return new(corev1.ConfigMap) },
	"DaemonSet":                  func() any { return new(appsv1.DaemonSet) },
	"Job":                        func() any { return new(batchv1.Job) },
	"Pod":                        func() any { return new(corev1.Pod) },
	"PodMonitor":                 func() any { return new(monitoringv1.PodMonitor) },
	"PrometheusRule":             func() any { return new(monitoringv1.PrometheusRule) },
	"Role":                       func() any { return new(rbacv1.Role) },
	"RoleBinding":                func() any { return new(rbacv1.RoleBinding) },
	"SecurityContextConstraints": func() any { return new(securityv1.SecurityContextConstraints) },
	"ServiceAccount":             func() any { return new(corev1.ServiceAccount) },
}

// parse reads each object strictly into its API type, as an API server with strict validation: an unknown field is an error.
func parse(t *testing.T, text string) rendered {
	t.Helper()
	objects := make(rendered)
	reader := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		var head struct {
			Kind     string
			Metadata struct{ Name, Namespace string }
		}
		if err := strict.Unmarshal(doc, &head); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		if head.Kind == "" { // only a comment
			continue
		}
		newObject, ok := types[head.Kind]
		if !ok {
			t.Fatalf("the chart makes a %s, of which this test knows no type", head.Kind)
		}
		object := newObject()
		if err := strict.UnmarshalStrict(doc, object); err != nil {
			t.Errorf("%s %s: %v", head.Kind, head.Metadata.Name, err)
		}
		objects[head.Kind+" "+head.Metadata.Name] = object
	}
}

// daemonSet returns the DaemonSet.
func (r rendered) daemonSet(t *testing.T) *appsv1.DaemonSet {
	t.Helper()
	ds, ok := r["DaemonSet halfclose"].(*appsv1.DaemonSet)
	if !ok {
		t.Fatalf("there is no DaemonSet halfclose among %v", r)
	}
	return ds
}

// container returns the container or init container of that name.
func container(t *testing.T, ds *appsv1.DaemonSet, name string) corev1.Container {
	t.Helper()
	for _, list := range [][]corev1.Container{ds.Spec.Template.Spec.InitContainers, ds.Spec.Template.Spec.Containers} {
		for _, c := range list {
			if c.Name == name {
				return c
			}
		}
	}
	t.Fatalf("there is no container %s", name)
	return corev1.Container{}
}
