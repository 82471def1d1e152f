// Command check renders a folder of deploy/ as kubectl kustomize would, with
// Kustomize as a library. It is a module of its own, so that what it needs is
// not what the product needs. Its tests hold what is rendered against the program.
//
//	go run -C deploy/check . ../overlays/production
//	go test -C deploy/check -count=1 .    # Go does not see what changes outside of a module
package main

import (
	"fmt"
	"os"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "check: the folder is needed")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "check:", err)
		os.Exit(1)
	}
}

func run(folder string) error {
	all, err := render(folder)
	if err != nil {
		return err
	}
	text, err := all.AsYaml()
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(text)
	return err
}

func render(folder string) (resmap.ResMap, error) {
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionLegacy // as kubectl does: the namespace first
	return krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), folder)
}
