package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// documented are the secrets that README.md has one make: key → file of
// secrets.sh, "" where one chooses the value.
func documented(t testing.TB) map[string]map[string]string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]map[string]string)
	joined := strings.ReplaceAll(string(text), "\\\n", " ")
	for _, command := range regexp.MustCompile(`create secret (\S+) (\S+) (.*)`).FindAllStringSubmatch(joined, -1) {
		keys := make(map[string]string)
		if command[1] == "tls" { // which is anybody's, so one of the nodes' will do
			keys["tls.crt"], keys["tls.key"] = "cluster-cert", "cluster-key"
		}
		for _, word := range strings.Fields(command[3]) {
			if rest, found := strings.CutPrefix(word, "--from-file="); found {
				key, path, named := strings.Cut(rest, "=")
				if !named {
					key, path = filepath.Base(rest), rest
				}
				keys[key] = filepath.Base(path)
			}
			if rest, found := strings.CutPrefix(word, "--from-literal="); found {
				key, _, _ := strings.Cut(rest, "=")
				keys[key] = ""
			}
		}
		all[command[2]] = keys
	}
	return all
}

// Every secret that is asked for is one that README.md has one make, and none is
// made for nothing.
func TestSecretsAreDocumented(t *testing.T) {
	all := documented(t)
	used := make(map[string]bool)
	for _, folder := range folders {
		m := read(t, folder)
		need := func(who, name, key string) {
			used[name+"/"+key] = true
			if _, found := all[name][key]; !found {
				t.Errorf("%s: %s needs the secret %s with %s, of which README.md says nothing", folder, who, name, key)
			}
		}
		for _, w := range m.workloads() {
			env, fromSecrets := m.variables(t, w.container(t), "")
			for _, ref := range fromSecrets {
				name, key, _ := strings.Cut(ref, "/")
				need(w.name, name, key)
			}
			for _, mounted := range w.files(t) {
				for key := range all[mounted.secret] {
					if mounted.has(key) && (!w.ours || slices.Contains(valuesOf(env), mounted.at+"/"+key)) {
						need(w.name, mounted.secret, key)
					}
				}
				for _, item := range mounted.items {
					need(w.name, mounted.secret, item.Key)
				}
			}
			if !w.ours {
				continue
			}
			for name, value := range env { // each file is in something that is mounted
				if strings.HasPrefix(value, "/") && !slices.ContainsFunc(w.files(t), func(f mounted) bool {
					_, found := all[f.secret][filepath.Base(value)]
					return filepath.Dir(value) == f.at && found && f.has(filepath.Base(value))
				}) {
					t.Errorf("%s: %s names %s, which is not there", w.name, name, value)
				}
			}
		}
	}
	for name, keys := range all {
		for key := range keys {
			if !used[name+"/"+key] && name != "nowserving-tls" {
				t.Errorf("README.md has one make %s/%s, which nothing uses", name, key)
			}
		}
	}
}

func valuesOf(env map[string]string) (values []string) {
	for _, value := range env {
		values = append(values, value)
	}
	return values
}

// mounted is a secret that a container sees as a folder.
type mounted struct {
	secret, at string
	items      []corev1.KeyToPath // empty: all
}

func (f mounted) has(key string) bool {
	return len(f.items) == 0 || slices.ContainsFunc(f.items, func(i corev1.KeyToPath) bool { return i.Key == key })
}

func (w workload) files(t testing.TB) (all []mounted) {
	t.Helper()
	for _, at := range w.container(t).VolumeMounts {
		for _, v := range w.template.Spec.Volumes {
			if v.Name != at.Name || v.Secret == nil {
				continue
			}
			all = append(all, mounted{v.Secret.SecretName, at.MountPath, v.Secret.Items})
			if w.ours && (at.SubPath != "" || v.Secret.DefaultMode == nil || *v.Secret.DefaultMode != 0o440) {
				t.Errorf("%s: %s is never renewed, or for everybody", w.name, at.MountPath)
			}
		}
	}
	return all
}
