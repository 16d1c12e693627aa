console.log("never the same twice under one name");
